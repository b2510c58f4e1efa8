//! Journals on disk. The journal files are the truth; sled is their index.
//!
//! [`EmbeddedStore`] keeps the journals of a folder that this process owns, [`MemoryStore`] keeps
//! them in memory under the same rules. `docs/storage-format.md` describes the bytes.

mod archive;
mod batch;
mod capture;
pub mod disk;
mod embedded;
mod envelope;
mod format;
mod frame;
mod home;
mod index;
pub mod journal;
mod keeper;
mod kept;
mod key;
mod layout;
mod ledger;
mod lookup;
mod mark;
mod memory;
#[cfg(feature = "testing")]
mod model;
mod options;
mod owner;
mod portable;
mod queue;
mod reader;
mod recover;
mod retain;
mod scan;
mod segment;
mod shared;
mod summary;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;
mod watches;
mod writer;

pub use capture::{CUT_MARK, Capture, Captured};
pub use embedded::{EmbeddedStore, Opened};
pub use frame::STORAGE_FORMAT;
pub use index::{Filter, Listing};
pub use memory::MemoryStore;
pub use options::{SEGMENT_BYTES, SEGMENT_BYTES_MIN, StoreOptions};
pub use owner::Owner;
pub use portable::{
    Exported, Imported, export, export_redacted, import, read_exported, read_exported_with_head,
};
pub use reader::{Reader, Snapshot};
pub use retain::retain;
pub use summary::RunSummary;
pub use verify::{Finding, find_head, head, verify};
pub use writer::{OUTCOME_RESERVE, STOP_RESERVE};
