//! A process by its pid and its start time: a pid alone is given to others, the two never are.

use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Ticks of the kernel's clock in a second, as it tells them to programs on every architecture that
/// Linux has today (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// One process of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, in ticks since the machine did.
    pub(crate) start_ticks: u64,
    /// Which start of the machine.
    pub(crate) boot: String,
}

impl Process {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start_ticks: start_ticks(pid)?, boot: boot() })
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// When it started by the wall clock, milliseconds since 1970; to about 20 ms.
    pub(crate) fn started_ms(&self) -> Option<i64> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let since_boot: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let now = SystemTime::UNIX_EPOCH.elapsed().ok()?;
        let age = std::time::Duration::try_from_secs_f64(since_boot).ok()?.saturating_sub(
            std::time::Duration::from_millis(
                self.start_ticks.saturating_mul(1_000 / TICKS_PER_SECOND),
            ),
        );
        i64::try_from(now.checked_sub(age)?.as_millis()).ok()
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        format!("pid {} (started {} ticks after boot)", self.pid, self.start_ticks)
    }
}

/// When a live process started; nothing for a pid that nobody has, and for a zombie.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat` (proc(5)). The second field, a name in brackets, may hold anything.
fn stat(text: &str) -> Option<u64> {
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.unwrap_or_default().trim().to_owned()
}

/// The process that a pid file names; absent where it names none that lives.
pub(crate) fn of_pid_file(path: &Path) -> Result<Option<Process>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let pid = text.split_whitespace().next().unwrap_or_default();
    let pid: u32 = pid.parse().map_err(|_| format!("{} holds no pid", path.display()))?;
    Ok(Process::of(pid))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_start_time_is_read_past_any_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(stat(&format!("12 (a) b) {fields}")), Some(777));
        assert_eq!(stat(&format!("12 (a) {}", fields.replace('S', "Z"))), None);
        assert_eq!(stat("12 (a) S 1"), None);
    }

    #[test]
    fn we_live_and_started_a_moment_ago() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.lives());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let started = u128::try_from(own.started_ms().unwrap()).unwrap();
        assert!(started <= now + 50 && now - started.min(now) < 3_600_000, "{started} {now}");
        assert!(!Process { start_ticks: own.start_ticks + 1, ..own }.lives());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in ".{0,80}") {
            let _any = stat(&text);
        }
    }
}
