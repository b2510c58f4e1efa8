//! Who holds a database file, by the kernel's own list of locks: SQLite locks with nothing else.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Processes that are named; the first ones tell enough.
const NAMED_MAX: usize = 3;

/// The processes that hold a lock for writing on a database, for people; nothing where the system
/// does not tell. A database in WAL mode is locked by the file beside it.
pub(super) fn writers(path: &Path) -> Option<String> {
    let list = std::fs::read_to_string("/proc/locks").ok()?;
    let beside = path.with_file_name(format!("{}-shm", path.file_name()?.to_str()?));
    let files = [path, &beside].map(|path| path.metadata().ok().map(|metadata| metadata.ino()));
    let files: Vec<u64> = files.into_iter().flatten().collect();
    let own = std::process::id();
    let mut pids: Vec<_> = list.lines().filter_map(|line| writer(line, &files)).collect();
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != own);
    let named: Vec<_> = pids.into_iter().take(NAMED_MAX).map(name).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// The process of a line such as `7: POSIX  ADVISORY  WRITE 4711 08:01:131 1073741825 1073741825`,
/// where it is of one of these files.
fn writer(line: &str, files: &[u64]) -> Option<u32> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "WRITE").skip(1);
    let pid = words.next()?.parse().ok()?;
    let file = words.next()?.rsplit(':').next()?.parse().ok()?;
    files.contains(&file).then_some(pid)
}

fn name(pid: u32) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match comm.trim() {
        "" => format!("pid {pid}"),
        comm => format!("pid {pid} ({comm})"),
    }
}

#[cfg(test)]
mod tests {
    use super::writer;

    #[test]
    fn the_kernels_list_is_read() {
        let line = "7: POSIX  ADVISORY  WRITE 4711 08:01:131 1073741825 1073741825";
        assert_eq!(writer(line, &[5, 131]), Some(4711));
        assert_eq!(writer(line, &[5]), None);
        assert_eq!(writer(&line.replace("WRITE", "READ"), &[131]), None);
        assert_eq!(writer("7: -> POSIX ADVISORY WRITE x", &[131]), None);
    }
}
