//! The tokio shell around the core: decide, append (durable), evolve, reconcile, acknowledge.

mod call;
mod capture;
pub mod clock;
pub mod crash;
pub mod drift;
mod driver;
mod follow;
pub mod handle;
pub mod herald;
pub mod host;
pub mod needs;
pub mod survey;
pub mod tidy;

pub use call::Observer;
pub use capture::Captures;
pub use clock::{Clock, SystemClock};
pub use follow::{Follow, Followed};
pub use handle::{Answer, Engine, EngineError, Options, Seen, Start};
pub use host::Host;
