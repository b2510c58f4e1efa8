//! Damage on disk: cut or refused as designed, with file and offset.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backout_core::id::{RunId, Seq};
use backout_store::journal::{AppendResult, JournalStore, StoreError};
use backout_store::testing::{append, created, ended, note, wait};
use backout_store::{EmbeddedStore, Finding, Opened, Reader, verify};
use tempfile::TempDir;

use crate::support::{open, run};

/// A store whose owner died: three runs in the log, the third finished, and one finished at home.
fn store() -> TempDir {
    made(|_, _| {})
}

/// Such a store with a second, empty segment behind the one with records.
fn store_with_spare() -> TempDir {
    made(|store, dir| {
        let events = [created(&run(4))].into_iter().chain((1..8).map(|after| note(after, 3_000)));
        for (after, event) in (0..).zip(events) {
            let result = wait(store.append(append(&run(4), after, vec![event])));
            assert!(matches!(result, AppendResult::Committed { .. }), "{result:?}");
        }
        // It is made beside.
        let until = Instant::now() + Duration::from_mins(1);
        while segments(dir) < 2 {
            assert!(Instant::now() < until, "no spare segment is made");
            std::thread::yield_now();
        }
    })
}

fn made(more: impl FnOnce(&EmbeddedStore, &Path)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, &run(9), true);
    store.close();
    let (store, _) = open(dir.path());
    fill(&store, &run(1), false);
    fill(&store, &run(2), false);
    fill(&store, &run(3), true);
    more(&store, dir.path());
    let kept = tempfile::tempdir().unwrap();
    copy(dir.path(), kept.path());
    kept
}

/// How many segments the log has.
fn segments(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("log")).unwrap().filter_map(Result::ok);
    files.filter(|file| file.path().extension().is_some_and(|e| e == "log")).count()
}

fn fill(store: &EmbeddedStore, run: &RunId, ends: bool) {
    for after in 0..6 {
        let event = match after {
            0 => created(run),
            5 if ends => ended(),
            _ => note(after, 300),
        };
        let result = wait(store.append(append(run, after, vec![event])));
        assert!(matches!(result, AppendResult::Committed { .. }), "{result:?}");
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&place).unwrap();
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// The segment with records.
fn segment(dir: &Path) -> PathBuf {
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    segments.sort();
    segments.into_iter().find(|path| frames(path).len() > 2).unwrap()
}

/// Where the frames of a segment begin.
fn frames(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"\xf2bo-frm\n")).collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn held(opened: &Opened) -> Vec<RunId> {
    opened.held.iter().map(|(run, _)| run.clone()).collect()
}

fn sorted(runs: &[u64]) -> Vec<RunId> {
    let mut runs: Vec<RunId> = runs.iter().map(|number| run(*number)).collect();
    runs.sort_unstable();
    runs
}

/// Two folders whose names were exchanged: each journal is whole, and of the other run.
#[test]
fn a_journal_in_the_folder_of_another_run_is_refused() {
    let dir = store();
    let home = |number| dir.path().join("runs").join(run(number).as_str());
    std::fs::rename(home(9), home(8)).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let error = reader.read(&run(8), Seq(1), 100).unwrap_err();
    let StoreError::Damaged { offset: 0, why, .. } = &error else { panic!("{error}") };
    assert!(why.contains(&format!("of run {}", run(9))), "{error}");
}

#[test]
fn a_torn_tail_is_cut_and_kept() {
    let dir = store();
    let path = segment(dir.path());
    let at = *frames(&path).last().unwrap();
    // As if the last batch was never synced and never acknowledged.
    std::fs::remove_file(dir.path().join("durable")).unwrap();
    change(&path, |bytes| bytes[at + 300] ^= 1);
    let (store, opened) = open(dir.path());
    assert_eq!(opened.held, Vec::new());
    let line = opened.lines.first().unwrap();
    assert!(line.contains(&format!("at byte {at}")) && line.contains("kept in"), "{line}");
    assert_eq!(store.read(&run(3), Seq(1), 100).unwrap().len(), 5);
    assert!(std::fs::read_dir(dir.path().join("kept")).unwrap().count() == 1);
}

#[test]
fn the_same_bytes_are_damage_where_they_were_durable() {
    let dir = store();
    let path = segment(dir.path());
    let at = *frames(&path).last().unwrap();
    change(&path, |bytes| bytes[at + 300] ^= 1);
    let (_store, opened) = open(dir.path());
    assert_eq!(held(&opened), sorted(&[3]), "{opened:?}");
}

#[test]
fn a_flipped_byte_in_a_body_holds_the_runs_in_its_table() {
    let dir = store();
    let path = segment(dir.path());
    let at = frames(&path)[2];
    change(&path, |bytes| bytes[at + 200] ^= 1);
    let found = verify(dir.path(), None).unwrap();
    assert_eq!((found[0].file.as_str(), found[0].offset), (path.to_str().unwrap(), at as u64));
    assert!(Reader::open(dir.path()).unwrap().held(&run(1)).unwrap().is_some());
    let (store, opened) = open(dir.path());
    assert_eq!(held(&opened), sorted(&[1]));
    assert!(opened.held[0].1.contains(&format!("{} is damaged at byte {at}", path.display())));
    assert_eq!(store.read(&run(1), Seq(1), 100).unwrap().len(), 2, "what was before it");
    assert_eq!(store.read(&run(2), Seq(1), 100).unwrap().len(), 6, "others go on");
    let refused = wait(store.append(append(&run(1), 2, vec![note(1, 1)])));
    assert!(matches!(refused, AppendResult::Refused { .. }), "{refused:?}");
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!(held(&opened), sorted(&[1]), "it stays held");
    store.unhold(&run(1)).unwrap();
    let released = wait(store.append(append(&run(1), 2, vec![note(1, 1)])));
    assert!(matches!(released, AppendResult::Committed { last: Seq(3), .. }), "{released:?}");
}

#[test]
fn an_unreadable_table_holds_all_that_was_unfinished_there() {
    let dir = store();
    let path = segment(dir.path());
    let at = frames(&path)[8];
    change(&path, |bytes| bytes[at + 70] ^= 1);
    let (store, opened) = open(dir.path());
    // Run 3 began later and is whole; run 9 was finished.
    assert_eq!(held(&opened), sorted(&[1, 2]), "{opened:?}");
    assert_eq!(store.read(&run(3), Seq(1), 100).unwrap().len(), 6);
    assert_eq!(store.read(&run(9), Seq(1), 100).unwrap().len(), 6);
}

#[test]
fn a_zeroed_page_is_located() {
    let dir = store();
    let path = segment(dir.path());
    change(&path, |bytes| bytes[4096..8192].fill(0));
    let first = frames(&path).into_iter().rfind(|at| *at < 4096).unwrap();
    let (_store, opened) = open(dir.path());
    let place = format!("{} is damaged at byte {first}", path.display());
    assert!(opened.lines.iter().any(|line| line.contains(&place)), "{opened:?}");
    assert!(!opened.held.is_empty());
}

#[test]
fn a_missing_segment_is_noticed() {
    let dir = store();
    std::fs::remove_file(segment(dir.path())).unwrap();
    let (store, opened) = open(dir.path());
    assert!(opened.lines.iter().any(|line| line.contains("missing")), "{opened:?}");
    assert_eq!(store.read(&run(9), Seq(1), 100).unwrap().len(), 6);
    assert_eq!(store.read(&run(1), Seq(1), 100), Err(StoreError::NoSuchRun(run(1))));
}

/// What is stored away at the close must be all that was acknowledged.
#[test]
fn a_tail_that_went_before_the_close_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, &run(1), true);
    let path = segment(dir.path());
    let tail = *frames(&path).last().unwrap();
    change(&path, |bytes| bytes[tail..].fill(0));
    store.close();
    let (_store, opened) = open(dir.path());
    assert!(opened.lines.iter().any(|line| line.contains("were durable and are missing")));
    assert_eq!(held(&opened), [run(1)]);
}

#[test]
fn swapped_segments_are_refused() {
    let dir = store_with_spare();
    let path = segment(dir.path());
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(dir.path().join("log")).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|other| *other != path && other.extension().is_some_and(|e| e == "log"));
    let other = all.pop().expect("a spare segment");
    let aside = dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::rename(&other, &path).unwrap();
    std::fs::rename(&aside, &other).unwrap();
    let (store, opened) = open(dir.path());
    let place = format!("{} is damaged at byte 0", path.display());
    assert!(opened.lines.iter().any(|line| line.contains(&place)), "{opened:?}");
    assert_eq!(store.read(&run(9), Seq(1), 100).unwrap().len(), 6);
}

#[test]
fn damage_at_home_stays_inside_its_run() {
    let dir = store();
    let journal = dir.path().join("runs").join(run(9).as_str()).join("journal");
    change(&journal, |bytes| bytes[700] ^= 1);
    let reader = Reader::open(dir.path()).unwrap();
    let damaged = reader.read(&run(9), Seq(1), 100);
    let file = journal.display().to_string();
    assert!(matches!(&damaged, Err(StoreError::Damaged { file: f, .. }) if *f == file));
    let found = verify(dir.path(), Some(&run(9))).unwrap();
    assert!(matches!(&found[..], [Finding { file: f, offset: 0, .. }] if *f == file), "{found:?}");
    assert_eq!(reader.read(&run(1), Seq(1), 100).unwrap().len(), 6);
}

#[test]
fn a_lost_checkpoint_is_made_again() {
    let dir = store();
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let (store, opened) = open(dir.path());
    assert!(opened.lines[0].contains("the checkpoint was made again"), "{opened:?}");
    assert_eq!(opened.unfinished, sorted(&[1, 2]));
    for number in [1, 2, 3, 9] {
        assert_eq!(store.read(&run(number), Seq(1), 100).unwrap().len(), 6);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let dir = store();
    let text = r#"{"format":2,"store":"0011223344556677"}"#;
    let crc = crc32fast::hash(text.as_bytes());
    std::fs::write(dir.path().join("format"), format!("{crc:08x}\n{text}\n")).unwrap();
    let error = EmbeddedStore::open(dir.path(), crate::support::options()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
}
