//! Who asks: the operating-system user, unverified.

use backout_core::id::{CommandId, RunId};
use backout_server::wire::By;

use crate::exit::Failure;

/// The user's name as the system knows it; behind sudo the one who called it.
pub(crate) fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let named = |name: &str| std::env::var(name).ok().filter(|user| !user.trim().is_empty());
    let sudo = if uid == 0 { named("SUDO_USER") } else { None };
    let known = || name_of(uid, &std::fs::read_to_string("/etc/passwd").unwrap_or_default());
    sudo.or_else(known).or_else(|| named("USER")).unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a user in the text of a `passwd` file.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then_some(name)
    });
    found.map(str::to_owned)
}

/// How the name of an engine begins; see [`here`].
pub(crate) fn process(pid: u32) -> String {
    format!("process {pid} ")
}

/// Where this process runs, for people.
pub(crate) fn here() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{}on {host}", process(std::process::id()))
}

/// This command, by this user, with this reason.
pub(crate) fn by(reason: Option<String>, break_glass: bool) -> Result<By, Failure> {
    let command = Some(CommandId::new(format!("cli-{:016x}", random_bits()?)));
    Ok(By { actor: user(), reason, command, break_glass })
}

/// A name for a new run.
pub(crate) fn new_run() -> Result<RunId, Failure> {
    Ok(RunId::from_random(random_bits()?))
}

/// Random bits of the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0_u8; N];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(count) if count == N => Ok(bytes),
        Ok(_) => Err(Failure::Internal("the system gave too few random bytes".to_owned())),
        Err(error) => Err(Failure::Internal(format!("no random bytes: {error}"))),
    }
}

fn random_bits() -> Result<u64, Failure> {
    Ok(u64::from_le_bytes(random::<8>()?))
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ana"));
        assert_eq!(name_of(7, passwd), None);
    }
}
