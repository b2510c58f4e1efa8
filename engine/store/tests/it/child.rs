//! A child process that appends and says on its output what was acknowledged. It is this test
//! binary, called again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use backout_core::id::{RunId, Seq};
use backout_store::journal::{AppendResult, JournalStore};
use backout_store::testing::{append, created, note, wait};

use crate::support::{open, run};

const DIR: &str = "BACKOUT_STORE_CHILD_DIR";
const BYTES: &str = "BACKOUT_STORE_CHILD_BYTES";

/// Does nothing, unless it is the child.
#[test]
fn entry() {
    let (Ok(dir), Ok(bytes)) = (std::env::var(DIR), std::env::var(BYTES)) else { return };
    write_until_killed(Path::new(&dir), bytes.parse().unwrap());
}

fn write_until_killed(dir: &Path, bytes: usize) {
    let (store, _) = open(dir);
    let mut out = std::io::stdout();
    let runs: Vec<RunId> = (1..=4).map(run).collect();
    let mut last: Vec<u64> = runs
        .iter()
        .map(|run| store.read(run, Seq(1), usize::MAX).map_or(0, |records| records.len() as u64))
        .collect();
    loop {
        let sent: Vec<_> = runs
            .iter()
            .zip(&last)
            .map(|(run, &after)| {
                let event = if after == 0 { created(run) } else { note(after, bytes) };
                store.append(append(run, after, vec![event, note(after, 10)]))
            })
            .collect();
        for ((run, last), answer) in runs.iter().zip(&mut last).zip(sent) {
            let AppendResult::Committed { last: now, .. } = wait(answer) else { return };
            *last = now.0;
            writeln!(out, "ack {run} {now}").unwrap();
            out.flush().unwrap();
        }
    }
}

/// A child that writes into a store.
pub(crate) struct Writing {
    child: Child,
    acks: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pipe: std::os::fd::OwnedFd,
    pub(crate) acknowledged: BTreeMap<RunId, u64>,
}

impl Writing {
    pub(crate) fn start(dir: &Path, bytes: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child::entry", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .env(BYTES, bytes.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let pipe = out.as_fd().try_clone_to_owned().unwrap();
        let acks = BufReader::new(out).lines();
        Self { child, acks, pipe, acknowledged: BTreeMap::new() }
    }

    /// Waits for so many acknowledgements.
    pub(crate) fn await_acks(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            match self.acks.next() {
                Some(Ok(line)) => seen += usize::from(self.note(&line)),
                other => panic!("the child ended: {other:?}"),
            }
        }
    }

    fn note(&mut self, line: &str) -> bool {
        // A line that was cut by the kill acknowledged nothing.
        let mut words = line.split(' ');
        let (Some("ack"), Some(run), Some(last)) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        self.acknowledged.insert(RunId::new(run), last.parse().unwrap());
        true
    }

    /// Stops it where it is, and hears all that it said until then. What it had begun in the kernel
    /// goes on; nothing is acknowledged any more.
    pub(crate) fn freeze(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        rustix::fs::fcntl_setfl(&self.pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
        while let Some(Ok(line)) = self.acks.next() {
            self.note(&line);
        }
    }

    /// Kills it, and forgets what it said since it was frozen.
    pub(crate) fn end(mut self) -> BTreeMap<RunId, u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.acknowledged
    }

    /// Kills it, and hears what it still said.
    pub(crate) fn kill(mut self) -> BTreeMap<RunId, u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Some(Ok(line)) = self.acks.next() {
            // The last line may be cut in its number: a shorter number is a smaller one.
            self.note(&line);
        }
        self.acknowledged
    }
}

/// All that was acknowledged is there, whole.
pub(crate) fn check(dir: &Path, acknowledged: &BTreeMap<RunId, u64>, what: &str) {
    let (store, opened) = open(dir);
    assert_eq!(opened.held, Vec::new(), "{what}");
    for (run, last) in acknowledged {
        let records = store.read(run, Seq(1), usize::MAX).unwrap();
        assert!(records.len() as u64 >= *last, "{what}: {run} has {}, not {last}", records.len());
        assert_eq!(records.len() % 2, 0, "{what}: half an append");
    }
    drop(store);
    assert_eq!(backout_store::verify(dir, None), Ok(Vec::new()), "{what}");
}
