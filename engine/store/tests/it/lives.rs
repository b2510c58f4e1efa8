//! Owners, readers, exports, retention, captures, full disks, the index.

use std::path::Path;
use std::process::Command;

use backout_core::event::{Event, Sending};
use backout_core::id::{Epoch, RunId, Seq, TargetId, Timestamp};
use backout_core::redact::Rule;
use backout_store::journal::{Append, AppendResult, JournalStore, StoreError};
use backout_store::testing::{append, created, ended, note, wait};
use backout_store::{
    EmbeddedStore, Filter, Reader, export, export_redacted, find_head, head, import, read_exported,
    retain, verify,
};

use crate::support::{open, options, run};

fn commit(store: &EmbeddedStore, append: Append) -> u64 {
    match wait(store.append(append)) {
        AppendResult::Committed { last, .. } => last.0,
        other => panic!("{other:?}"),
    }
}

fn fill(store: &EmbeddedStore, run: &RunId, ends: bool) {
    commit(store, append(run, 0, vec![created(run), note(1, 500)]));
    if ends {
        commit(store, append(run, 2, vec![ended()]));
    }
}

#[test]
fn a_second_owner_is_told_about_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let error = EmbeddedStore::open(dir.path(), options()).unwrap_err();
    let since = "2023-11-14T22:13:20.000Z".into();
    assert_eq!(error, StoreError::Owned { pid: std::process::id(), since });
    let owner = Reader::open(dir.path()).unwrap().owner().unwrap();
    assert_eq!((owner.pid, owner.socket.as_path()), (std::process::id(), store.socket_path()));
    store.close();
    assert_eq!(Reader::open(dir.path()).unwrap().owner(), None);
    drop(open(dir.path()));
}

#[test]
fn a_reader_beside_the_owner_sees_all_that_was_acknowledged_and_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let run = run(1);
    commit(&store, append(&run, 0, vec![created(&run)]));
    std::thread::scope(|scope| {
        let (path, reads) = (dir.path(), run.clone());
        let reader = scope.spawn(move || {
            let reader = Reader::open(path).unwrap();
            let mut seen = 0;
            while seen < 400 {
                let records = reader.read(&reads, Seq(1), usize::MAX).unwrap();
                assert!(records.len() >= seen);
                assert!(records.iter().zip(1..).all(|(record, seq)| record.seq == Seq(seq)));
                seen = records.len();
            }
        });
        for after in 1..400 {
            commit(&store, append(&run, after, vec![note(after, 1_000)]));
            if after % 50 == 0 {
                let seen =
                    Reader::open(dir.path()).unwrap().read(&run, Seq(1), usize::MAX).unwrap();
                assert_eq!(seen.len() as u64, after + 1, "what was acknowledged is seen at once");
            }
        }
        reader.join().unwrap();
    });
}

#[test]
fn locks_epochs_and_tokens_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (run(1), run(2));
    let target: TargetId = "db:a".into();
    let (store, _) = open(dir.path());
    let mut claim = append(&one, 0, vec![created(&one)]);
    claim.claims = vec![target.clone()];
    claim.epoch = Epoch(3);
    commit(&store, claim.clone());
    store.close();
    let (store, opened) = open(dir.path());
    assert_eq!(opened.unfinished, vec![one.clone()]);
    assert_eq!(store.next_epoch(&one), Ok(Epoch(4)));
    let mut other = append(&two, 0, vec![created(&two)]);
    other.claims = vec![target.clone()];
    assert!(matches!(wait(store.append(other.clone())), AppendResult::Held { .. }));
    assert!(matches!(wait(store.append(claim)), AppendResult::Committed { last: Seq(1), .. }));
    let mut release = append(&one, 1, vec![ended()]);
    release.epoch = Epoch(3);
    release.releases = vec![target];
    commit(&store, release);
    let AppendResult::Committed { grants, .. } = wait(store.append(other)) else { panic!() };
    assert_eq!(grants[0].token.0, 2);
}

#[test]
fn a_run_goes_to_another_store_in_one_file() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = run(1);
    let (store, _) = open(from.path());
    let mut first = append(&run, 0, vec![created(&run), note(1, 5_000)]);
    first.claims = vec!["db:a".into()];
    commit(&store, first);
    let mut capture = store.capture(&run, "step/1/0", 1_000).unwrap();
    capture.push(b"hello").unwrap();
    let captured = capture.finish().unwrap();
    let reader = Reader::open(from.path()).unwrap();
    let mut file = Vec::new();
    export(&reader, &run, &mut file).unwrap();

    let (there, _) = open(to.path());
    for at in (0..file.len()).step_by(97) {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert!(import(to.path(), &mut bad.as_slice()).is_err(), "byte {at}");
    }
    assert!(import(to.path(), &mut &file[..file.len() - 1]).is_err());
    assert_eq!(there.list(), Ok(Vec::new()));
    assert_eq!(import(to.path(), &mut file.as_slice()), Ok(run.clone()));
    assert!(import(to.path(), &mut file.as_slice()).is_err(), "it is there already");
    let all = |store: &EmbeddedStore| store.read(&run, Seq(1), 100).unwrap();
    assert_eq!(all(&there), all(&store));
    assert_eq!(there.read_capture(&run, &captured.sha256, 1, 3).unwrap(), b"ell");
    assert_eq!(verify(to.path(), None), Ok(Vec::new()));

    let mut taken = append(&run, 2, vec![note(2, 1)]);
    taken.epoch = there.next_epoch(&run).unwrap();
    taken.claims = vec!["db:b".into()];
    assert!(matches!(wait(there.append(taken.clone())), AppendResult::Refused { .. }));
    there.take_over(&run).unwrap();
    commit(&there, taken);
    // Its lock on db:a is a matter of the other store.
    let other = crate::support::run(2);
    let mut claim = append(&other, 0, vec![created(&other)]);
    claim.claims = vec!["db:a".into()];
    commit(&there, claim);
    there.close();
    assert_eq!(all(&open(to.path()).0).len(), 3);
}

#[test]
fn a_file_is_read_without_a_store_and_a_redacted_one_says_nothing_of_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(1);
    let (store, _) = open(dir.path());
    let mut first = append(&run, 0, vec![created(&run), note(1, 500)]);
    first.claims = vec!["db:hidden".into()];
    commit(&store, first);
    let reader = Reader::open(dir.path()).unwrap();
    let (mut whole, mut redacted) = (Vec::new(), Vec::new());
    export(&reader, &run, &mut whole).unwrap();
    let taken = export_redacted(&reader, &run, &Rule::USUAL, &mut redacted).unwrap();
    assert_eq!(taken.get(&Rule::Hosts), Some(&1), "{taken:?}");
    let head = head(&reader, &run).unwrap();

    let read = read_exported(&mut whole.as_slice()).unwrap();
    assert_eq!(read.events, Some(store.read(&run, Seq(1), 100).unwrap()));
    assert_eq!((read.head, read.redacted), (head.clone(), None));

    let text = String::from_utf8_lossy(&redacted);
    assert!(!text.contains("note 1") && !text.contains("hidden"), "{text}");
    let read = read_exported(&mut redacted.as_slice()).unwrap();
    assert_eq!(read.head, head, "it is the chain of the store");
    assert_eq!(read.redacted, Some((Rule::USUAL.to_vec(), taken)));
    let events = read.events.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].grants[0].target.as_str(), "target 1");

    let to = tempfile::tempdir().unwrap();
    drop(open(to.path()));
    assert!(import(to.path(), &mut redacted.as_slice()).is_err());
    for at in 0..redacted.len() {
        let mut bad = redacted.clone();
        bad[at] ^= 1;
        assert!(read_exported(&mut bad.as_slice()).is_err(), "byte {at}");
    }
    assert!(read_exported(&mut &redacted[..redacted.len() - 1]).is_err());
}

#[test]
fn retention_takes_finished_runs_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, &run(1), true);
    fill(&store, &run(2), false);
    assert_eq!(wait(retain(&store, 10, Timestamp(1_000_000))), Ok(vec![]), "still in the log");
    store.close();
    let (store, _) = open(dir.path());
    assert_eq!(wait(retain(&store, 10, Timestamp(1_005))), Ok(vec![]), "too young");
    assert_eq!(wait(retain(&store, 10, Timestamp(1_000_000))), Ok(vec![run(1)]));
    assert_eq!(store.list(), Ok(vec![run(2)]));
    assert!(!dir.path().join("trash").exists());
    fill(&store, &run(1), false);
}

#[test]
fn a_head_kept_elsewhere_shows_an_edit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, &run(1), false);
    let reader = Reader::open(dir.path()).unwrap();
    let kept = head(&reader, &run(1)).unwrap();
    commit(&store, append(&run(1), 2, vec![note(3, 1)]));
    assert_eq!(find_head(&reader, &run(1), &kept), Ok(Some(Seq(2))));
    assert_eq!(find_head(&reader, &run(1), &"0".repeat(64)), Ok(None));
}

#[test]
fn captured_output_is_cut_at_its_limit_with_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut capture = store.capture(&run(1), "out", 6).unwrap();
    capture.push(b"four").unwrap();
    assert_eq!(std::fs::read(capture.path()).unwrap(), b"four", "views follow it");
    capture.push(b"more").unwrap();
    let captured = capture.finish().unwrap();
    assert!(captured.cut);
    let text = store.read_capture(&run(1), &captured.sha256, 0, 1_000).unwrap();
    assert_eq!(text, [b"fourmo", backout_store::CUT_MARK.as_bytes()].concat());
    assert!(store.list().unwrap().is_empty(), "a run without records is none");
}

#[test]
fn the_index_lists_and_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let mut with_index = options();
    with_index.index = true;
    let (store, _) = EmbeddedStore::open(dir.path(), with_index.clone()).unwrap();
    fill(&store, &run(1), true);
    fill(&store, &run(2), false);
    let states = |store: &EmbeddedStore| -> Vec<(String, String)> {
        let listing = store.runs(&Filter::default()).unwrap();
        assert_eq!(listing.lines, Vec::<String>::new());
        listing.runs.into_iter().map(|run| (run.run, run.state)).collect()
    };
    let mut wanted = vec![
        (run(1).to_string(), "succeeded".to_owned()),
        (run(2).to_string(), "running".to_owned()),
    ];
    wanted.sort();
    assert_eq!(states(&store), wanted);
    store.close();
    let (store, _) = EmbeddedStore::open(dir.path(), with_index.clone()).unwrap();
    assert_eq!(states(&store), wanted);
    let only = Filter { states: vec!["running".into()], ..Filter::default() };
    assert_eq!(store.runs(&only).unwrap().runs.len(), 1);
    store.close();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = EmbeddedStore::open(dir.path(), with_index.clone()).unwrap();
    assert_eq!(states(&store), wanted);
    store.close();
    for entry in std::fs::read_dir(dir.path().join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, [0xaa; 5_000]).unwrap();
        }
    }
    let (store, _) = EmbeddedStore::open(dir.path(), with_index).unwrap();
    let listing = store.runs(&Filter::default()).unwrap();
    assert_eq!(listing.runs.len(), 2);
    assert!(listing.lines[0].contains("the index is made again"), "{:?}", listing.lines);
}

struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        let mounted = sh(&format!("mount -t tmpfs -o size={size} tmpfs {}", at.display()));
        assert!(mounted || std::env::var_os("CI").is_none(), "a tmpfs needs root");
        if !mounted {
            eprintln!("skipped: a small tmpfs needs root");
        }
        mounted.then_some(Self(at))
    }

    fn remount(&self, how: &str) {
        assert!(sh(&format!("mount -o remount,{how} {}", self.0.display())));
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        sh(&format!("umount {}", self.0.display()));
    }
}

fn sh(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_refuses_intents_first_and_goes_on_when_there_is_room() {
    // What the disk has left comes in other pieces with each size.
    for kib in (2_600..3_600).step_by(100) {
        fill_a_disk(kib);
    }
}

fn fill_a_disk(kib: u32) {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(dir.path(), &format!("{kib}k")) else { return };
    let (store, _) = open(dir.path());
    let run = run(1);
    let mut intent = append(&run, 0, vec![created(&run)]);
    intent.intends = 1;
    let mut last = commit(&store, intent);
    let refused = loop {
        match wait(store.append(append(&run, last, vec![note(last, 20_000)]))) {
            AppendResult::Committed { last: now, .. } => last = now.0,
            other => break other,
        }
    };
    assert!(
        matches!(&refused, AppendResult::Full { why } if why.contains("no room")),
        "{kib} KiB: {refused:?}"
    );
    let mut more = append(&run, last, vec![note(last, 10)]);
    more.intends = 1;
    assert!(matches!(wait(store.append(more)), AppendResult::Full { .. }), "{kib} KiB");
    // What is owed can still be written: an outcome with large output, the end of its step with the
    // same, and the stop.
    let output = serde_json::Value::String("x".repeat(backout_core::limits::OUTPUT_BYTES_MAX));
    let sending = Sending { step: "a".into(), attempt: 1, effect: 0, dispatch: 1 };
    let owed = [
        Event::EffectDone { sending, output: output.clone() },
        Event::StepSucceeded { step: "a".into(), changed: true, output },
        Event::EngineDetached { why: "the disk is full".into() },
    ];
    for event in owed {
        match wait(store.append(append(&run, last, vec![event]))) {
            AppendResult::Committed { last: now, .. } => last = now.0,
            other => panic!("{kib} KiB: {other:?}"),
        }
    }
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.read(&run, Seq(1), usize::MAX).unwrap().len() as u64, last);
    disk.remount("size=64m");
    commit(&store, append(&run, last, vec![note(last, 20_000)]));
    assert_eq!(store.stopped(), None);
    drop(store);
}

#[test]
fn a_store_on_a_read_only_file_system_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(dir.path(), "16m") else { return };
    let (store, _) = open(dir.path());
    fill(&store, &run(1), false);
    let path = dir.path();
    drop(store);
    disk.remount("ro");
    let reader = Reader::open(path).unwrap();
    assert_eq!(reader.list(), Ok(vec![run(1)]));
    assert_eq!(reader.read(&run(1), Seq(1), 10).unwrap().len(), 2);
    assert_eq!(verify(path, None), Ok(Vec::new()));
    let error = EmbeddedStore::open(path, options()).unwrap_err();
    assert!(error.to_string().contains("ead-only file system"), "{error}");
}
