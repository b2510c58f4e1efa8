//! Names of traces and spans, after W3C Trace Context (<https://www.w3.org/TR/trace-context/>).
//!
//! They follow from the run, the step and the attempt alone, so that an engine that takes a run up
//! goes on in the same trace, and a service's own spans find their parent however often the engine died.

use sha2::{Digest, Sha256};

use crate::contract::hex;
use crate::id::{RunId, StepId};

/// The trace of a run.
pub fn trace_id(run: &RunId) -> [u8; 16] {
    digest(&format!("backout trace 1\n{run}"))
}

/// The span of the run as a whole.
pub fn run_span(run: &RunId) -> [u8; 8] {
    digest(&format!("backout run 1\n{run}"))
}

/// The span of a step over all its attempts.
pub fn step_span(run: &RunId, step: &StepId) -> [u8; 8] {
    digest(&format!("backout step 1\n{run}\n{step}"))
}

/// The span of one attempt: the parent of what services do for it.
pub fn attempt_span(run: &RunId, step: &StepId, attempt: u32) -> [u8; 8] {
    digest(&format!("backout attempt 1\n{run}\n{step}\n{attempt}"))
}

/// What is handed to each effect: `00-TRACE-SPAN-01`, sampled.
pub fn traceparent(run: &RunId, step: &StepId, attempt: u32) -> String {
    format!("00-{}-{}-01", hex(&trace_id(run)), hex(&attempt_span(run, step, attempt)))
}

/// The first bytes of a hash; never all zeros, which the standard forbids.
fn digest<const N: usize>(text: &str) -> [u8; N] {
    let hash = Sha256::digest(text);
    let mut bytes = [0; N];
    bytes.iter_mut().zip(hash).for_each(|(byte, of_hash)| *byte = of_hash);
    if bytes.iter().all(|byte| *byte == 0) {
        bytes = [1; N];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_has_the_shape_of_the_standard_and_never_changes() {
        let (run, step) = (RunId::from("r000000000"), StepId::from("a"));
        let text = traceparent(&run, &step, 1);
        let parts: Vec<&str> = text.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert_eq!(text, traceparent(&run, &step, 1));
        assert_ne!(text, traceparent(&run, &step, 2));
        assert_eq!(parts[1], &traceparent(&run, &"b".into(), 1)[3..35], "one trace for all");
    }
}
