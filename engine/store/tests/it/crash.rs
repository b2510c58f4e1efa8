//! Crashes on the model disk, at every call and with many seeds.

use std::collections::BTreeMap;
use std::path::Path;

use backout_core::id::{RunId, Seq};
use backout_store::journal::{AppendResult, JournalStore};
use backout_store::testing::{CrashKind, ModelDisk, append, created, ended, note, wait};
use backout_store::{EmbeddedStore, Reader};

use crate::support::{on, run};

const DIR: &str = "/store";

/// Positions that were acknowledged, and how far each run was sent.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: BTreeMap<RunId, u64>,
    sent: BTreeMap<RunId, u64>,
}

/// Appends to some runs in turn until the disk fails or `turns` are over.
fn work(store: &EmbeddedStore, known: &mut Known, turns: u64, bytes: usize) {
    for turn in 0..turns {
        let run = run(turn % 3 + 1);
        let after = known.acknowledged.get(&run).copied().unwrap_or(0);
        let event = if after == 0 { created(&run) } else { note(after, bytes) };
        let more = append(&run, after, vec![event, note(after, 10)]);
        known.sent.insert(run.clone(), after + 2);
        match wait(store.append(more)) {
            AppendResult::Committed { last, .. } => {
                known.acknowledged.insert(run, last.0);
            }
            AppendResult::Unknown { .. } | AppendResult::Full { .. } => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Everything acknowledged is there, nothing is half there, and what is there was sent.
fn check(store: &EmbeddedStore, disk: &ModelDisk, known: &mut Known, what: &str, sound: bool) {
    let reader = Reader::on(std::sync::Arc::new(disk.clone()), Path::new(DIR)).unwrap();
    for (run, acknowledged) in &mut known.acknowledged {
        let records = store.read(run, Seq(1), usize::MAX).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found = records.len() as u64;
        assert!(found >= *acknowledged, "{what}: {run} has {found}, {acknowledged} acknowledged");
        assert!(found <= known.sent[run], "{what}: {run} has {found}");
        assert_eq!(found % 2, 0, "{what}: half an append of {run}");
        // On a disk that fails, the mark of what is durable may be behind.
        let seen = reader.read(run, Seq(1), usize::MAX).unwrap_or_default();
        assert!(records.starts_with(&seen), "{what}: the reader of {run}");
        assert!(!sound || seen.len() == records.len(), "{what}: the reader sees {}", seen.len());
        *acknowledged = found;
    }
}

/// A store that lived through some work and two restarts, and all that must be in it.
fn life(disk: &ModelDisk, known: &mut Known, bytes: usize) {
    for _ in 0..2 {
        let Ok((store, _)) = EmbeddedStore::open(Path::new(DIR), on(disk)) else { return };
        work(&store, known, 40, bytes);
        store.close();
    }
}

fn calls_of_a_life(bytes: usize) -> u64 {
    let disk = ModelDisk::new();
    life(&disk, &mut Known::default(), bytes);
    disk.calls()
}

fn survives(fail_after: u64, seed: u64, bytes: usize) {
    let what = format!("crash after {fail_after}, seed {seed}, {bytes} bytes");
    let disk = ModelDisk::new();
    disk.fail_after(fail_after);
    let mut known = Known::default();
    life(&disk, &mut known, bytes);
    let first = if seed.is_multiple_of(4) { CrashKind::Process } else { CrashKind::Power { seed } };
    let mut disk = disk.crashed(first);
    // Power is cut again in the middle of recovery, then it is let be.
    for (again, limit) in [(1, Some(seed % 60)), (2, Some(seed % 200)), (3, None)] {
        if let Some(limit) = limit {
            disk.fail_after(limit);
        }
        match EmbeddedStore::open(Path::new(DIR), on(&disk)) {
            Err(error) => assert!(limit.is_some(), "{what}: {error}"),
            Ok((store, opened)) => {
                assert_eq!(opened.held, Vec::new(), "{what}: {opened:?}");
                check(&store, &disk, &mut known, &what, limit.is_none());
                work(&store, &mut known, 7, bytes);
                store.close();
            }
        }
        disk = disk.crashed(CrashKind::Power { seed: seed ^ again });
    }
    let (store, _) = EmbeddedStore::open(Path::new(DIR), on(&disk)).unwrap();
    check(&store, &disk, &mut known, &what, true);
}

#[test]
fn every_call_is_a_place_to_crash() {
    let calls = calls_of_a_life(200);
    for fail_after in 0..calls + 2 {
        survives(fail_after, fail_after.wrapping_mul(31) + 5, 200);
    }
}

#[test]
fn many_seeds_with_large_events() {
    let calls = calls_of_a_life(9_000);
    for seed in 0..300 {
        survives(seed * 7919 % calls, seed, 9_000);
    }
}

#[test]
fn a_failed_sync_stops_the_store_for_good() {
    let disk = ModelDisk::new();
    let (store, _) = EmbeddedStore::open(Path::new(DIR), on(&disk)).unwrap();
    let run = run(1);
    wait(store.append(append(&run, 0, vec![created(&run)])));
    while store.stopped().is_none() {
        disk.fail_sync(1);
        let last = store.read(&run, Seq(1), 1_000).unwrap().len() as u64;
        wait(store.append(append(&run, last, vec![note(last, 10)])));
    }
    let before = store.read(&run, Seq(1), 1_000).unwrap().len() as u64;
    let refused = wait(store.append(append(&run, before, vec![ended()])));
    assert!(matches!(refused, AppendResult::Unknown { .. }), "{refused:?}");
    drop(store);
    let (store, _) = EmbeddedStore::open(Path::new(DIR), on(&disk)).unwrap();
    assert!(store.read(&run, Seq(1), 1_000).unwrap().len() as u64 >= before);
}

#[test]
fn killed_between_write_and_sync_then_reopened_then_the_power_goes() {
    let calls = calls_of_a_life(200);
    for fail_after in (0..calls).step_by(2) {
        let what = format!("killed after {fail_after}");
        let disk = ModelDisk::new();
        disk.fail_after(fail_after);
        let mut known = Known::default();
        life(&disk, &mut known, 200);
        let disk = disk.crashed(CrashKind::Process);
        let (store, _) = EmbeddedStore::open(Path::new(DIR), on(&disk)).unwrap();
        check(&store, &disk, &mut known, &what, true);
        work(&store, &mut known, 3, 200);
        // The power goes while the store is open: nothing is closed in order.
        let after = disk.crashed(CrashKind::Power { seed: fail_after });
        let (store, opened) = EmbeddedStore::open(Path::new(DIR), on(&after)).unwrap();
        assert_eq!(opened.held, Vec::new(), "{what}: {opened:?}");
        check(&store, &after, &mut known, &what, true);
    }
}
