//! The engine's face: the wire types that every view and every client share, the plan as a picture,
//! and the routes on the control socket in the store's folder and on a port.

mod api;
pub mod books;
mod caller;
pub mod catalogue;
pub mod client;
pub mod desk;
pub mod drilled;
mod etag;
mod extract;
mod face;
pub mod graph;
mod groups;
pub mod guard;
pub mod hands;
mod live;
mod metrics;
mod moments;
mod once;
pub mod port;
pub mod problem;
mod record;
mod routes;
mod shelf;
pub mod socket;
mod stream;
mod times;
pub mod view;
pub mod wire;
mod witness;

pub use caller::{Door, Sender};
pub use face::{Face, Heads, Outputs};
pub use live::{Live, Piece};
pub use once::IDEMPOTENCY_KEY;
pub use routes::{
    BODY_BYTES_MAX, EmergencyRequest, LineReply, LineRequest, PlanAnswer, StartBookRequest,
    openapi, router,
};
pub use witness::{Told, Witness};
