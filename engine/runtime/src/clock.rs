//! Time as an argument.

use std::future::Future;
use std::pin::Pin;

use backout_core::id::Timestamp;

/// A clock: the system's, or a simulated one.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Ends when `due` has come.
    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(chrono::Utc::now().timestamp_millis())
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let ms = due.since_ms(self.now());
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(ms)))
    }
}
