//! Stores written by released formats are read for ever.
//!
//! A history is made once per format, by
//! `BACKOUT_WRITE_HISTORY=1 cargo test -p backout-store histories`, and never again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use backout_core::contract::Settled;
use backout_core::event::{Event, Recorded, Sending, SkipCause, StopCause, Wait};
use backout_core::id::{Epoch, RunId, Seq, Timestamp};
use backout_store::journal::{AppendResult, JournalStore};
use backout_store::testing::{append, created, ended, note, wait};
use backout_store::{EmbeddedStore, Reader, STORAGE_FORMAT, export, import, read_exported, verify};
use serde_json::json;

use crate::damage::copy;
use crate::support::{open, run};

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(format!("v{format}"))
}

/// A step's life, with something of every part of an event.
fn life(run: &RunId) -> Vec<Event> {
    let sending = Sending { step: "flags_off".into(), attempt: 1, effect: 0, dispatch: 1 };
    let (step, output) =
        (sending.step.clone(), json!({"flag": "off", "text": "\"quoted\" \u{e9}"}));
    vec![
        created(run),
        Event::EngineAttached { engine: "host 1".into() },
        Event::StepStarted { step: step.clone(), attempt: 1, input: json!({"file": "flags.yaml"}) },
        Event::StepWaits {
            step: step.clone(),
            wait: Wait::Retry { due: Timestamp(5), why: "late".into() },
        },
        Event::EffectIntended { sending: sending.clone() },
        Event::EffectUnclear { sending: sending.clone(), reason: "reset".into() },
        Event::EffectSettled {
            sending,
            settled: Settled::Done { output: output.clone() },
            due: None,
        },
        Event::StepSucceeded { step, changed: true, output },
        Event::StepSkipped { step: "later".into(), by: SkipCause::Person },
        note(1, 3_000),
        Event::RunStopping { why: StopCause::Aborted },
    ]
}

fn put(store: &EmbeddedStore, run: &RunId, ends: bool) {
    let mut events = life(run);
    events.extend(ends.then(ended));
    for (after, event) in (0..).zip(events) {
        let mut one = append(run, after, vec![event]);
        one.epoch = Epoch(1 + after / 6);
        if after == 2 {
            one.claims = vec![format!("file:/{run}").as_str().into()];
            one.intends = 1;
        }
        let result = wait(store.append(one));
        assert!(matches!(result, AppendResult::Committed { .. }), "{result:?}");
    }
}

#[test]
fn write() {
    if std::env::var_os("BACKOUT_WRITE_HISTORY").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    put(&store, &run(1), true);
    put(&store, &run(2), false);
    store.close();
    let (store, _) = open(dir.path());
    put(&store, &run(3), false);
    let target = folder(STORAGE_FORMAT);
    std::fs::create_dir_all(target.join("store")).unwrap();
    // Copied while it is open: with records in the log, as after a crash.
    copy(dir.path(), &target.join("store"));
    for name in ["owner.lock", "log/000000000004.log"] {
        let _gone = std::fs::remove_file(target.join("store").join(name));
    }
    let reader = Reader::open(dir.path()).unwrap();
    let mut file = std::fs::File::create(target.join("exported")).unwrap();
    export(&reader, &run(3), &mut file).unwrap();
    let all: BTreeMap<RunId, Vec<Recorded>> = reader
        .list()
        .unwrap()
        .into_iter()
        .map(|run| (run.clone(), reader.read(&run, Seq(1), usize::MAX).unwrap()))
        .collect();
    let text = serde_json::to_string_pretty(&all).unwrap();
    std::fs::write(target.join("expected.json"), text).unwrap();
}

fn expected(format: u32) -> BTreeMap<RunId, Vec<Recorded>> {
    let text = std::fs::read(folder(format).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn every_released_format_is_read() {
    for format in 1..=STORAGE_FORMAT {
        let dir = tempfile::tempdir().unwrap();
        copy(&folder(format).join("store"), dir.path());
        assert_eq!(verify(dir.path(), None), Ok(Vec::new()), "format {format}");
        let reader = Reader::open(dir.path()).unwrap();
        let (store, opened) = open(dir.path());
        assert_eq!((opened.lines, opened.held), (Vec::new(), Vec::new()), "format {format}");
        for (run, records) in expected(format) {
            assert_eq!(reader.read(&run, Seq(1), usize::MAX).as_ref(), Ok(&records));
            assert_eq!(store.read(&run, Seq(1), usize::MAX), Ok(records));
        }
    }
}

#[test]
fn every_released_export_is_imported() {
    for format in 1..=STORAGE_FORMAT {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        let bytes = std::fs::read(folder(format).join("exported")).unwrap();
        let run = import(dir.path(), &mut bytes.as_slice()).unwrap();
        let records = &expected(format)[&run];
        assert_eq!(store.read(&run, Seq(1), usize::MAX).as_ref(), Ok(records));
        let read = read_exported(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.run, read.events.as_ref(), read.redacted), (run, Some(records), None));
    }
}
