//! Bytes that nobody wrote: every file of a store and an exported run, damaged in every way that a
//! disk, a cable or a person can think of. What is read without an error was written, in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq};
use backout_store::journal::{AppendResult, JournalStore, StoreError};
use backout_store::testing::{append, created, ended, note, wait};
use backout_store::{EmbeddedStore, Opened, Reader, export, import, verify};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use crate::damage::copy;
use crate::support::{open, options, run};

/// What every frame of a log and a journal begins with.
const FRAME: &[u8] = b"\xf2bo-frm\n";

/// Files by their path in the folder.
type Files = BTreeMap<String, Vec<u8>>;

/// One way to damage a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, Index),
    Zero(Index, Index),
    Repeat(Index, Index, Index),
    Insert(Index, Vec<u8>),
    Replace(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        4 => (at(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        2 => at().prop_map(Damage::Cut),
        2 => (at(), at()).prop_map(|(from, to)| Damage::Remove(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Zero(from, to)),
        2 => (at(), at(), at()).prop_map(|(from, to, place)| Damage::Repeat(from, to, place)),
        1 => (at(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => bytes().prop_map(Damage::Replace),
    ]
}

/// Places at which the parts of a file begin: damage along the seams gets past checksums that
/// know one part only.
fn seams_of(bytes: &[u8]) -> Vec<usize> {
    let mut places = sections(bytes);
    places.extend((0..bytes.len()).filter(|at| bytes[*at..].starts_with(FRAME)));
    places.extend([0, bytes.len()]);
    places
}

/// Where the sections of an exported run begin.
fn sections(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 8;
    while bytes.starts_with(b"\xf3bo-run\n") && at + 24 <= bytes.len() {
        found.push(at);
        let name = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let content = u64::from_le_bytes(bytes[at + 4..at + 12].try_into().unwrap());
        at = usize::try_from(content).unwrap().saturating_add(at + 24 + name).min(bytes.len());
    }
    found
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>, seams: bool) {
        let (len, places) = (bytes.len(), seams_of(bytes));
        let place = |index: &Index| {
            if seams { places[index.index(places.len())] } else { index.index(len + 1) }
        };
        let range = |a: &Index, b: &Index| {
            let (a, b) = (place(a), place(b));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Flip(at, bits) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= bits;
                }
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Remove(from, to) => drop(bytes.drain(range(from, to))),
            Self::Zero(from, to) => bytes[range(from, to)].fill(0),
            Self::Repeat(from, to, at) => {
                let part = bytes[range(from, to)].to_vec();
                let at = place(at);
                bytes.splice(at..at, part);
            }
            Self::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Replace(new) => bytes.clone_from(new),
        }
    }
}

/// A store whose owner died, all its files, and what was acknowledged in it.
struct Sample {
    dir: TempDir,
    files: Vec<String>,
    written: BTreeMap<RunId, Vec<Recorded>>,
    exported: Vec<u8>,
    exported_run: RunId,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(make_sample)
}

fn commit(store: &EmbeddedStore, run: &RunId, after: u64, event: backout_core::event::Event) {
    let result = wait(store.append(append(run, after, vec![event])));
    assert!(matches!(result, AppendResult::Committed { .. }), "{result:?}");
}

fn make_sample() -> Sample {
    let live = tempfile::tempdir().unwrap();
    let (store, _) = open(live.path());
    fill(&store, &run(9), true);
    fill(&store, &run(8), false);
    store.close();
    let (store, _) = open(live.path());
    for number in 1..4 {
        fill(&store, &run(number), number == 3);
    }
    let mut capture = store.capture(&run(9), "step/1/0", 1_000).unwrap();
    capture.push(b"what a command said").unwrap();
    capture.finish().unwrap();
    let work = store.scratch(&run(9)).join("exec/one");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("claim"), "sent once").unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(live.path(), dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    let mut exported = Vec::new();
    export(&reader, &run(9), &mut exported).unwrap();
    let read = |run: RunId| (run.clone(), reader.read(&run, Seq(1), usize::MAX).unwrap());
    let written = reader.list().unwrap().into_iter().map(read).collect();
    let files = tree(dir.path()).into_keys().collect();
    Sample { files, written, exported, exported_run: run(9), dir }
}

fn fill(store: &EmbeddedStore, run: &RunId, ends: bool) {
    commit(store, run, 0, created(run));
    for after in 1..5 {
        commit(store, run, after, note(after, 300));
    }
    commit(store, run, 5, if ends { ended() } else { note(5, 10) });
}

fn tree(dir: &Path) -> Files {
    fn add(dir: &Path, name: &str, files: &mut Files) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{name}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                add(&entry.path(), &format!("{name}/"), files);
            } else {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut files = Files::new();
    add(dir, "", &mut files);
    files
}

/// A copy of the sample with one file damaged, and that file's name.
fn damaged(file: Index, damages: &[Damage], seams: bool) -> (TempDir, String) {
    let sample = sample();
    let dir = tempfile::tempdir().unwrap();
    copy(sample.dir.path(), dir.path());
    let name = file.get(&sample.files).clone();
    let path = dir.path().join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    for damage in damages {
        damage.apply(&mut bytes, seams);
    }
    std::fs::write(path, bytes).unwrap();
    (dir, name)
}

/// What was read is what was written, from the first record on.
fn check_prefix(run: &RunId, read: &[Recorded]) -> Result<(), TestCaseError> {
    let written = sample().written.get(run).map(Vec::as_slice).unwrap_or_default();
    prop_assert!(read.len() <= written.len(), "{run}: {} records", read.len());
    prop_assert_eq!(read, &written[..read.len()]);
    Ok(())
}

fn check_reader(dir: &Path, from: u64) -> Result<(), TestCaseError> {
    // Each finding is an answer; a panic and a hang are none.
    drop(verify(dir, None));
    let Ok(reader) = Reader::open(dir) else { return Ok(()) };
    drop(reader.list());
    for (run, written) in &sample().written {
        drop((reader.held(run), reader.summary(run), reader.imported(run)));
        if let Ok((read, _)) = reader.readable(run) {
            check_prefix(run, &read)?;
        }
        if let Ok(read) = reader.read(run, Seq(from), 3) {
            let first = usize::try_from(from.max(1) - 1).unwrap().min(written.len());
            let end = first + read.len();
            prop_assert!(end <= written.len());
            prop_assert_eq!(read, &written[first..end]);
        }
    }
    Ok(())
}

fn check_owner(dir: &Path, name: &str) -> Result<(), TestCaseError> {
    let (store, opened) = match EmbeddedStore::open(dir, options()) {
        Ok(opened) => opened,
        // The file that says which store it is decides whether there is one.
        Err(error) => {
            prop_assert!(name == "format", "{name}: {error}");
            return Ok(());
        }
    };
    for run in sample().written.keys() {
        check_run(&store, &opened, run, name)?;
    }
    Ok(())
}

/// What the owner reads was written; where something is missing it says so; and what it appends
/// after that stands right behind.
fn check_run(
    store: &EmbeddedStore,
    opened: &Opened,
    run: &RunId,
    name: &str,
) -> Result<(), TestCaseError> {
    let read = match store.read(run, Seq(1), usize::MAX) {
        Ok(read) => read,
        Err(StoreError::NoSuchRun(_)) => Vec::new(),
        Err(_) => return Ok(()),
    };
    check_prefix(run, &read)?;
    let written = &sample().written[run];
    let at_home = name == format!("runs/{run}/journal");
    let whole = read.len() == written.len();
    prop_assert!(whole || at_home || !opened.lines.is_empty(), "{name}: {run} lost in silence");
    let seq = read.len() as u64;
    let added = append(run, seq, vec![note(77, 5)]);
    if let AppendResult::Committed { last, .. } = wait(store.append(added)) {
        prop_assert_eq!(last, Seq(seq + 1));
        let again = store.read(run, Seq(1), usize::MAX).map_err(|e| fail(&e))?;
        prop_assert_eq!(&again[..read.len()], &read[..]);
        prop_assert_eq!(again.len(), read.len() + 1);
    }
    Ok(())
}

fn fail(error: &StoreError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// So many cases, or as many as `PROPTEST_CASES` says.
fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = wanted.unwrap_or(cases);
    ProptestConfig { cases, max_shrink_iters: 200, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_reader_never_gives_what_was_not_written(
        file in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..4),
        seams in any::<bool>(),
        from in 0..9u64,
    ) {
        let (dir, _) = damaged(file, &damages, seams);
        check_reader(dir.path(), from)?;
    }

    #[test]
    fn a_damaged_export_is_refused_and_leaves_nothing(
        damages in prop::collection::vec(damage(), 1..4),
        seams in any::<bool>(),
    ) {
        let sample = sample();
        let mut bytes = sample.exported.clone();
        for damage in &damages {
            damage.apply(&mut bytes, seams);
        }
        let to = empty_store();
        let before = tree(to.path());
        match import(to.path(), &mut bytes.as_slice()) {
            Err(_) => prop_assert_eq!(tree(to.path()), before),
            Ok(run) => {
                prop_assert!(bytes == sample.exported, "not what was exported");
                prop_assert_eq!(&run, &sample.exported_run);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn an_owner_never_gives_what_was_not_written(
        file in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..4),
        seams in any::<bool>(),
    ) {
        let (dir, name) = damaged(file, &damages, seams);
        check_owner(dir.path(), &name)?;
        check_owner_again(dir.path())?;
    }
}

/// A second owner finds what the first one left in order.
fn check_owner_again(dir: &Path) -> Result<(), TestCaseError> {
    let Ok((store, _)) = EmbeddedStore::open(dir, options()) else { return Ok(()) };
    for run in sample().written.keys() {
        if let Ok(read) = store.read(run, Seq(1), usize::MAX) {
            let known = read.len().saturating_sub(1);
            check_prefix(run, &read[..known])?;
        }
    }
    Ok(())
}

/// A folder that is a store and holds nothing.
fn empty_store() -> TempDir {
    static EMPTY: OnceLock<TempDir> = OnceLock::new();
    let made = EMPTY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.close();
        std::fs::remove_dir_all(dir.path().join("log")).unwrap();
        dir
    });
    let dir = tempfile::tempdir().unwrap();
    copy(made.path(), dir.path());
    dir
}
