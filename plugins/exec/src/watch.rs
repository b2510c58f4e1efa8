//! The shim while its command runs: it keeps the output, ends the command when told or when it
//! takes too long, and records how it ended.

use std::io::{BufRead, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use backout_plugin_api::Masker;
use backout_plugin_api::limits::DURATION_MS_MAX;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::capture::{Capture, Tail};
use crate::process::{group_is_alive, signal_group};
use crate::record::{Exit, Folder, How, STDERR_BYTES_MAX, STDOUT_BYTES_MAX, Why};
use crate::shim::{Job, Report, Stage, tell};

/// How long a command has to end politely before it is ended firmly: a service that finishes its
/// requests takes some seconds, and a person is waiting.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long output is still read after the command ended, where something that it left behind
/// holds its pipes.
pub(crate) const DRAIN: Duration = Duration::from_millis(500);
/// Between two looks at a group that was told to end.
const GROUP_POLL: Duration = Duration::from_millis(20);
/// What the engine writes to have the command ended.
pub(crate) const CANCEL: &str = "cancel";
/// Bytes read at once: what a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;

/// What happens to a command.
enum Event {
    /// It ended, and was not asked for its status yet: its number is still its own.
    Exited,
    /// The stage became the command, or could not, and why.
    Word(Option<String>),
    /// One of its two streams ended.
    StreamEnded,
    /// The engine wants it ended.
    Cancel,
}

/// Where all that is said is kept.
struct Kept {
    capture: Option<Capture>,
    stdout: Tail,
    stderr: Tail,
}

/// Follows the command to its end.
pub(crate) fn watch(
    job: &Job,
    folder: &Folder,
    mut stage: Stage,
    stdin: impl BufRead + Send + 'static,
) {
    let kept = Arc::new(Mutex::new(Kept {
        capture: Capture::create(&folder.output()).ok(),
        stdout: Tail::new(STDOUT_BYTES_MAX),
        stderr: Tail::new(STDERR_BYTES_MAX),
    }));
    let (send, events) = mpsc::channel();
    listen(job, &mut stage, &kept, &send);
    listen_to_engine(stdin, send);
    let mut course = Course::new(stage.pid, job);
    course.follow(&events);
    let status = stage.child.wait();
    let how = course.how(status.ok());
    record(folder, &kept, how);
    // What the command left behind may still write: its pipes stay whole until it ends.
    while course.streams > 0 {
        match events.recv() {
            Ok(event) => course.note(event),
            Err(_) => return,
        }
    }
}

/// Starts the threads that turn what happens to the command into events.
fn listen(job: &Job, stage: &mut Stage, kept: &Arc<Mutex<Kept>>, send: &Sender<Event>) {
    if let Some(stdout) = stage.child.stdout.take() {
        let (kept, send, masker) = (Arc::clone(kept), send.clone(), Masker::new(&job.secrets));
        std::thread::spawn(move || read(stdout, masker, &kept, &send, |kept| &mut kept.stdout));
    }
    if let Some(stderr) = stage.child.stderr.take() {
        let (kept, send, masker) = (Arc::clone(kept), send.clone(), Masker::new(&job.secrets));
        std::thread::spawn(move || read(stderr, masker, &kept, &send, |kept| &mut kept.stderr));
    }
    let (pid, exited) = (Pid::from_raw(stage.pid), send.clone());
    std::thread::spawn(move || {
        wait_for(pid);
        exited.send(Event::Exited)
    });
    let (word, told) = (stage.word.try_clone(), send.clone());
    std::thread::spawn(move || {
        let mut reason = String::new();
        drop(word.and_then(|mut word| word.read_to_string(&mut reason)));
        told.send(Event::Word((!reason.is_empty()).then_some(reason)))
    });
}

/// The end of stdin means that the engine is gone, which is no reason to end anything.
fn listen_to_engine(stdin: impl BufRead + Send + 'static, send: Sender<Event>) {
    std::thread::spawn(move || {
        let asked = stdin.lines().map_while(Result::ok).any(|line| line == CANCEL);
        if asked { send.send(Event::Cancel) } else { Ok(()) }
    });
}

/// Waits until a child ended, without taking its status: until that is taken, nobody else gets its
/// number.
fn wait_for(pid: Option<Pid>) {
    let Some(pid) = pid else { return };
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
}

fn read(
    mut stream: impl Read,
    mut masker: Masker,
    kept: &Mutex<Kept>,
    send: &Sender<Event>,
    tail: fn(&mut Kept) -> &mut Tail,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let keep = |masked: &[u8]| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        tail(&mut kept).push(masked);
        if let Some(capture) = &mut kept.capture {
            capture.push(masked);
        }
    };
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => keep(&masker.push(&piece[..length])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    keep(&masker.finish());
    // The shim may be over.
    drop(send.send(Event::StreamEnded));
}

/// The course of a command from its begin to its end.
struct Course {
    group: i32,
    grace: Duration,
    streams: u32,
    exited: bool,
    word: bool,
    never_began: Option<String>,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    /// It may run until then.
    Running { until: Instant },
    /// It was told to end, and is ended firmly then.
    Ending { why: Why, until: Instant },
    /// It was ended firmly.
    Killed { why: Why },
    /// It ended by itself; its streams are read until then.
    Draining { until: Instant },
}

impl Course {
    fn new(group: i32, job: &Job) -> Self {
        let until = Instant::now() + Duration::from_millis(job.timeout_ms.min(DURATION_MS_MAX));
        let grace = Duration::from_millis(job.grace_ms);
        let phase = Phase::Running { until };
        Self { group, grace, streams: 2, exited: false, word: false, never_began: None, phase }
    }

    fn follow(&mut self, events: &Receiver<Event>) {
        while !self.is_over() {
            let wait = self.next_look().map(|at| at.saturating_duration_since(Instant::now()));
            match wait {
                Some(wait) => match events.recv_timeout(wait) {
                    Ok(event) => self.note(event),
                    Err(RecvTimeoutError::Timeout) => self.on_time(Instant::now()),
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match events.recv() {
                    Ok(event) => self.note(event),
                    Err(_) => return,
                },
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Exited => {
                self.exited = true;
                if let Phase::Running { .. } = self.phase {
                    self.phase = Phase::Draining { until: Instant::now() + DRAIN };
                }
            }
            Event::Word(reason) => (self.word, self.never_began) = (true, reason),
            Event::StreamEnded => self.streams -= 1,
            Event::Cancel => self.end(Why::Cancel),
        }
    }

    /// Tells the whole group to end.
    fn end(&mut self, why: Why) {
        if let Phase::Running { .. } = self.phase {
            signal_group(self.group, Signal::TERM);
            self.phase = Phase::Ending { why, until: Instant::now() + self.grace };
        }
    }

    fn on_time(&mut self, now: Instant) {
        match self.phase {
            Phase::Running { until } if now >= until => self.end(Why::Timeout),
            Phase::Ending { why, until } if now >= until || self.is_empty() => {
                // Also what the command started, and what did not hear the polite word.
                signal_group(self.group, Signal::KILL);
                self.phase = Phase::Killed { why };
            }
            Phase::Running { .. }
            | Phase::Ending { .. }
            | Phase::Killed { .. }
            | Phase::Draining { .. } => {}
        }
    }

    /// Whether nothing of the group is left but the command's own number.
    fn is_empty(&self) -> bool {
        self.exited && !group_is_alive(self.group)
    }

    fn next_look(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { until } | Phase::Draining { until } => Some(until),
            Phase::Ending { until, .. } => Some(until.min(Instant::now() + GROUP_POLL)),
            Phase::Killed { .. } => None,
        }
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Running { .. } | Phase::Ending { .. } => false,
            Phase::Killed { .. } => self.exited,
            Phase::Draining { until } => {
                self.word && (self.streams == 0 || Instant::now() >= until)
            }
        }
    }

    fn how(&mut self, status: Option<ExitStatus>) -> How {
        if let Some(reason) = self.never_began.take() {
            return How::NeverBegan(reason);
        }
        match (self.phase, status.map(|status| (status.code(), status.signal()))) {
            (Phase::Ending { why, .. } | Phase::Killed { why }, _) => How::Ended(why),
            (Phase::Running { .. } | Phase::Draining { .. }, Some((Some(code), _))) => {
                How::Status(code)
            }
            (Phase::Running { .. } | Phase::Draining { .. }, Some((None, signal))) => {
                How::Signal(signal.unwrap_or(0))
            }
            (Phase::Running { .. } | Phase::Draining { .. }, None) => How::Signal(0),
        }
    }
}

/// Records how it ended, and tells the engine. A disk that is full may still take a short record.
fn record(folder: &Folder, kept: &Mutex<Kept>, how: How) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mut capture) = kept.capture.take() {
        capture.close();
    }
    let (stdout, stdout_cut) = kept.stdout.text();
    let (stderr, _) = kept.stderr.text();
    let exit = Exit { at_ms: now_ms(), how, stdout, stdout_cut, stderr };
    let short =
        Exit { stdout: String::new(), stdout_cut: true, stderr: String::new(), ..exit.clone() };
    match folder.write_exit(&exit).or_else(|_| folder.write_exit(&short)) {
        Ok(()) => tell(&Report::Ended),
        Err(error) => tell(&Report::Unrecorded(format!("{}, but {error}", exit.says()))),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
