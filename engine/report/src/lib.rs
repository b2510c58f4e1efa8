//! The after-action record of a run.
