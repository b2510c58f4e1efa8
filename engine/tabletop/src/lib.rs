//! Exercises: a simulated world behind the same core, drills by a scenario, discussions, the report,
//! and the replay of a record.
//!
//! Nothing here can reach a real target: the world is plain data with twins of the real actions, and
//! this crate knows neither plugins nor the runtime that calls them.

pub mod console;
pub mod decisions;
pub mod discussion;
pub mod drill;
pub mod explore;
pub mod judge;
pub mod log;
pub mod page;
pub mod record;
pub mod replay;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod world;
