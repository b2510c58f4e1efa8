//! `backout watch`: the runs on a terminal. What is shown comes from [`backout_server::view`], what a
//! person asks goes to the engine as from every other face; nothing is decided here.
//!
//! [`Screen`] is pure: it takes keys and news and says what to ask for. [`watch`] is the shell around
//! it: the terminal, the clock, and the line to the engine.

mod draw;
mod form;
mod keys;
mod screen;
mod shell;
mod source;
mod tree;
mod url;

pub use draw::Look;
pub use screen::{Ask, Followed, News, Screen, Wish};
pub use shell::{Setting, WatchError, watch};
pub use source::{Source, SourceError};
pub use url::UrlSource;
