//! Who asks: the operating-system user, unverified.

use backout_core::id::{CommandId, RunId};
use backout_server::wire::By;

use crate::exit::Failure;

/// The user's name as the system knows it.
pub(crate) fn user() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|user| !user.trim().is_empty());
    // Behind sudo the person is the one who called it.
    let sudo = named("SUDO_USER");
    sudo.or_else(|| named("USER"))
        .or_else(|| named("LOGNAME"))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Where this process runs, for people.
pub(crate) fn here() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("process {} on {host}", std::process::id())
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
