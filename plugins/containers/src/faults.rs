//! Where a test stops or disturbs a verb. In production none is set.

use std::fmt;
use std::sync::Arc;

/// The sub-steps after which a test may stop or kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// All was looked at, nothing done.
    Looked,
    /// The image is here.
    Pulled,
    /// An earlier seal is gone.
    Unsealed,
    /// The new container stands under the key's name.
    Marked,
    /// It is connected to its networks.
    Attached,
    /// It was started.
    Started,
    /// It is healthy.
    Awaited,
    /// It is to be found by its aliases.
    Joined,
    /// A kept one has its restart policy back.
    Revived,
    /// The old one does not come back by itself.
    Quieted,
    /// The old one has the name of what is kept.
    Kept,
    /// The new one has the replica's name.
    Named,
    /// The old one ended.
    Stopped,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Looked,
        Self::Pulled,
        Self::Unsealed,
        Self::Marked,
        Self::Attached,
        Self::Started,
        Self::Awaited,
        Self::Joined,
        Self::Revived,
        Self::Quieted,
        Self::Kept,
        Self::Named,
        Self::Stopped,
    ];
}

/// Asked after each sub-step; true stops the verb there, as a crash would.
#[derive(Clone, Default)]
pub(crate) struct Faults(Option<Arc<dyn Fn(Point) -> bool + Send + Sync>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.is_some()).finish()
    }
}

impl Faults {
    pub(crate) fn at(fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(fault)))
    }

    /// Whether the verb stops here.
    pub(crate) fn stops(&self, point: Point) -> bool {
        self.0.as_ref().is_some_and(|fault| fault(point))
    }
}
