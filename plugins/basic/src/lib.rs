//! noop.run, wait.for and wait.approval
