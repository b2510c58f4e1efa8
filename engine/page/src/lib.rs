//! The web page: what `status` and the commands are on a terminal, for a browser. It is rendered
//! here and works without script; the script only keeps it up to date.
//!
//! Nothing is decided here: what is shown comes from [`backout_server::view`], what a person asks
//! goes to [`backout_runtime::Engine::ask`] as it would from everywhere else.

mod ask;
mod assets;
mod book;
mod exercise;
mod form;
mod given;
mod guard;
mod locks;
mod routes;
mod show;
mod start;

pub use given::{Given, RANDOM_BYTES, Random};
pub use routes::{record_router, router};
