//! Traces of runs: a span for each run, step and attempt, made from the journal alone and sent by OTLP.
//!
//! The journal knows when everything began and ended, also across the death of an engine. So spans are
//! not timed while things happen, but made from the events when something ends: [`Spans`] is a fold.

mod export;
mod spans;

pub use export::{EndpointError, Traces};
pub use spans::{Span, SpanKind, Spans};
