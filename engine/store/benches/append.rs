//! How long an append takes beside a raw write and fdatasync of the same bytes, on the same disk,
//! in the same run; and how many a second with 64 outstanding. `cargo bench -p backout-store`.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::cast_precision_loss, reason = "rates are printed with few digits")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run says so by its panic")]

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backout_core::id::{RunId, Seq, Timestamp};
use backout_store::journal::{AppendResult, JournalStore};
use backout_store::testing::{append, created, note, wait};
use backout_store::{EmbeddedStore, StoreOptions};

/// Single appends measured in each turn.
const SINGLES: u64 = 300;
/// Turns, interleaved, so that other load falls on both.
const TURNS: u64 = 5;
/// Appends outstanding at once.
const OUTSTANDING: usize = 64;
/// Appends of the throughput measurement.
const MANY: u64 = 20_000;
/// Bytes of the raw record: what an append of [`note`] with 100 bytes writes.
const RAW_BYTES: usize = 840;

fn open(dir: &Path) -> EmbeddedStore {
    let mut options = StoreOptions::new(Arc::new(|| Timestamp(0)), [1; 32]);
    options.index = false;
    EmbeddedStore::open(dir, options).unwrap().0
}

fn raw(dir: &Path) -> File {
    let path = dir.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    file.write_all_at(&vec![0; 8 << 20], 0).unwrap();
    file.sync_all().unwrap();
    file
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 10], times[times.len() / 2])
}

fn singles(dir: &Path, store: &EmbeddedStore) {
    let (file, bytes) = (raw(dir), vec![7; RAW_BYTES]);
    let run = RunId::from_random(1);
    wait(store.append(append(&run, 0, vec![created(&run)])));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for index in turn * SINGLES..(turn + 1) * SINGLES {
            let began = Instant::now();
            file.write_all_at(&bytes, index * RAW_BYTES as u64).unwrap();
            file.sync_data().unwrap();
            theirs.push(began.elapsed());
        }
        for index in turn * SINGLES..(turn + 1) * SINGLES {
            let next = append(&run, index + 1, vec![note(index, 100)]);
            let began = Instant::now();
            let result = wait(store.append(next));
            ours.push(began.elapsed());
            assert!(matches!(result, AppendResult::Committed { .. }), "{result:?}");
        }
    }
    let (ours, theirs) = (percentiles(ours), percentiles(theirs));
    println!("one append, p10 / p50: {:?} / {:?}", ours.0, ours.1);
    println!(
        "raw write + fdatasync of {RAW_BYTES} bytes, p10 / p50: {:?} / {:?}",
        theirs.0, theirs.1
    );
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!("ratio p10 {:.2}, p50 {:.2}", ratio(ours.0, theirs.0), ratio(ours.1, theirs.1));
}

fn many(dir: &Path, store: &EmbeddedStore) {
    let runs: Vec<RunId> =
        (0..OUTSTANDING as u64).map(|n| RunId::from_random(1_000 + n * 7_919)).collect();
    for run in &runs {
        wait(store.append(append(run, 0, vec![created(run)])));
    }
    let mut sent = VecDeque::new();
    let began = Instant::now();
    for index in 0..MANY {
        let run = &runs[usize::try_from(index).unwrap() % OUTSTANDING];
        let after = 1 + index / OUTSTANDING as u64;
        if sent.len() == OUTSTANDING {
            let result: AppendResult = wait(sent.pop_front().unwrap());
            assert!(matches!(result, AppendResult::Committed { .. }), "{result:?}");
        }
        sent.push_back(store.append(append(run, after, vec![note(after, 100)])));
    }
    for answer in sent {
        drop(wait(answer));
    }
    let ours = MANY as f64 / began.elapsed().as_secs_f64();
    let (file, bytes) = (raw(dir), vec![7; RAW_BYTES * OUTSTANDING / 2]);
    let began = Instant::now();
    let batches = MANY / (OUTSTANDING as u64 / 2);
    for index in 0..batches {
        file.write_all_at(&bytes, (index * bytes.len() as u64) % (7 << 20)).unwrap();
        file.sync_data().unwrap();
    }
    let raw = MANY as f64 / began.elapsed().as_secs_f64();
    println!(
        "{OUTSTANDING} outstanding: {ours:.0} appends/s; raw batches of {}: {raw:.0} records/s, ratio {:.2}",
        OUTSTANDING / 2,
        ours / raw
    );
}

fn reads(store: EmbeddedStore, dir: &Path) {
    let run = RunId::from_random(99);
    wait(store.append(append(&run, 0, vec![created(&run)])));
    for index in 0..100 {
        let events = (0..1_000).map(|n| note(index * 1_000 + n, 100)).collect();
        wait(store.append(append(&run, 1 + index * 1_000, events)));
    }
    store.close();
    let began = Instant::now();
    let store = open(dir);
    println!("open: {:?}", began.elapsed());
    let began = Instant::now();
    let records = store.read(&run, Seq(1), usize::MAX).unwrap().len();
    let bytes =
        std::fs::metadata(dir.join("runs").join(run.as_str()).join("journal")).unwrap().len();
    let took = began.elapsed();
    println!(
        "read {records} events, {bytes} bytes: {took:?}, {:.0} MB/s",
        bytes as f64 / took.as_secs_f64() / 1e6
    );
}

fn main() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = open(dir.path());
    singles(dir.path(), &store);
    many(dir.path(), &store);
    reads(store, dir.path());
}
