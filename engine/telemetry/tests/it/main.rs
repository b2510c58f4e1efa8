//! The traces of runs.
