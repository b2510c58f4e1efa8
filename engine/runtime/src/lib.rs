//! The tokio shell around the core: decide, append (durable), evolve, reconcile, acknowledge.

pub mod clock;
pub mod handle;
pub mod host;
pub mod survey;

pub use clock::{Clock, SystemClock};
pub use handle::{Answer, Engine, EngineError};
pub use host::Host;
