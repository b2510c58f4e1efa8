//! The engine's face: the wire types that every view and every client share, the plan as a picture,
//! and the control socket in the store's folder.

pub mod client;
pub mod graph;
mod groups;
pub mod problem;
mod routes;
pub mod socket;
pub mod view;
pub mod wire;

pub use routes::{Face, router};
