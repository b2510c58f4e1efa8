//! kill -9, in a loop, on one store that grows.

use crate::child::{Writing, check};

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    for turn in 0..25 {
        let mut writing = Writing::start(dir.path(), 300);
        writing.await_acks(1 + turn * 13 % 97);
        let acknowledged = writing.kill();
        check(dir.path(), &acknowledged, &format!("turn {turn}"));
    }
}
