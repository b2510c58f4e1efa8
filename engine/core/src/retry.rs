//! Backoff, as a pure function.
