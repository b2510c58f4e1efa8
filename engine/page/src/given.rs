//! What the page is given besides the engine: who is local, the time, and chance.

use std::fmt;
use std::sync::Arc;

use backout_core::id::Timestamp;
use backout_runtime::{Clock, SystemClock};
use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes in a name that nobody may guess.
pub const RANDOM_BYTES: usize = 16;

/// Gives random bytes, or says why it cannot.
pub type Random = Arc<dyn Fn() -> Result<[u8; RANDOM_BYTES], String> + Send + Sync>;

/// What the page is given besides the engine.
#[derive(Clone)]
pub struct Given {
    /// Who acts where nobody authenticates: the operating-system user that the engine runs as, as
    /// far as a port is believed. A name typed into a page would let one person act as two.
    pub person: String,
    /// The time now.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Random,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("person", &self.person).finish_non_exhaustive()
    }
}

impl Given {
    /// This machine's clock and chance.
    pub fn by_system(person: impl Into<String>) -> Self {
        Self { person: person.into(), clock: Arc::new(SystemClock), random: Arc::new(random) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A name that nobody may guess, in hex.
    pub(crate) fn name(&self) -> Result<String, String> {
        (self.random)().map(|bytes| backout_core::contract::hex(&bytes))
    }
}

fn random() -> Result<[u8; RANDOM_BYTES], String> {
    let mut bytes = [0_u8; RANDOM_BYTES];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(count) if count == RANDOM_BYTES => Ok(bytes),
        Ok(_) => Err("the system gave too few random bytes".to_owned()),
        Err(error) => Err(format!("no random bytes: {error}")),
    }
}
