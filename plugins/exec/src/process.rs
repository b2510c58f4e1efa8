//! Processes by names that are never used twice: a number, and when it began, on one boot of one
//! machine.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// A process of this machine, now or in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// When it began, in clock ticks since boot.
    pub(crate) began: u64,
    /// Which boot of the machine.
    pub(crate) boot: String,
    /// Which machine; empty where it has no name.
    pub(crate) machine: String,
    /// Which table of process numbers: a container has its own.
    pub(crate) pid_space: String,
}

/// Whether a process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs.
    Alive,
    /// It ended.
    Gone,
    /// It cannot be seen from here: another machine, or another container.
    OutOfSight,
}

impl Process {
    /// The process of a number, as of now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self {
            pid,
            began: stat.began,
            boot: boot()?,
            machine: machine(),
            pid_space: pid_space()?,
        })
    }

    /// The one that asks.
    pub(crate) fn me() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether it is there.
    pub(crate) fn life(&self) -> io::Result<Life> {
        if self.machine != machine() {
            return Ok(Life::OutOfSight);
        }
        if self.boot != boot()? {
            return Ok(Life::Gone);
        }
        if self.pid_space != pid_space()? {
            return Ok(Life::OutOfSight);
        }
        match Stat::read(self.pid) {
            Ok(stat) if stat.began == self.began && !stat.is_over() => Ok(Life::Alive),
            Ok(_) => Ok(Life::Gone),
            Err(error) if is_gone(&error) => Ok(Life::Gone),
            Err(error) => Err(error),
        }
    }

    /// Whether any process of the session that this one leads, or led, is there; itself included.
    pub(crate) fn session_life(&self) -> io::Result<Life> {
        match self.life()? {
            Life::Gone if self.boot == boot()? => {
                let any = all()?.any(|stat| stat.session == self.pid && stat.began >= self.began);
                Ok(if any { Life::Alive } else { Life::Gone })
            }
            life => Ok(life),
        }
    }
}

/// Whether any process of a group is there, one that ended and waits to be asked for aside.
pub(crate) fn group_is_alive(group: i32) -> bool {
    all().is_ok_and(|mut all| all.any(|stat| stat.group == group))
}

/// Sends a signal to a process group that may have ended.
pub(crate) fn signal_group(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        // It has ended, then: nothing is left to signal.
        let _ = kill_process_group(group, signal);
    }
}

/// What `/proc/PID/stat` tells.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    group: i32,
    session: i32,
    began: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other(format!("unreadable /proc/{pid}/stat")))
    }

    /// The fields after the program's name, which may hold blanks and brackets itself.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            began: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_over(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Every process that has not ended.
fn all() -> io::Result<impl Iterator<Item = Stat>> {
    let pids = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Stat::read(pid).ok()).filter(|stat| !stat.is_over()))
}

fn is_gone(error: &io::Error) -> bool {
    // ESRCH: it ended between the opening of its file and the reading.
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn machine() -> String {
    fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

fn pid_space() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn knows_itself() {
        let me = Process::me().unwrap();
        assert_eq!(me.life().unwrap(), Life::Alive);
        let other_start = Process { began: me.began + 1, ..me.clone() };
        assert_eq!(other_start.life().unwrap(), Life::Gone);
        let other_boot = Process { boot: "x".into(), ..me.clone() };
        assert_eq!(other_boot.life().unwrap(), Life::Gone);
        let other_machine = Process { machine: "x".into(), ..me.clone() };
        assert_eq!(other_machine.life().unwrap(), Life::OutOfSight);
        let other_container = Process { pid_space: "x".into(), ..me };
        assert_eq!(other_container.life().unwrap(), Life::OutOfSight);
    }

    #[test]
    fn a_child_that_ended_is_gone_before_it_is_waited_for() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(process.life().unwrap(), Life::Alive);
        child.kill().unwrap();
        while process.life().unwrap() == Life::Alive {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process.life().unwrap(), Life::Gone);
    }

    #[test]
    fn reads_a_name_with_brackets() {
        let text = "7 (a) b (c) S 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0";
        let stat = Stat { state: b'S', group: 2, session: 3, began: 99 };
        assert_eq!(Stat::parse(text), Some(stat));
    }
}
