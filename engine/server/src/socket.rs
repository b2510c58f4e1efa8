//! The control socket: the same routes on a Unix socket in the store's folder, so that every other
//! invocation of the command finds the engine that owns the store and works through it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::caller::Door;
use crate::face::Face;
use crate::routes::router;

/// The socket's name in the store's folder.
pub const SOCKET_NAME: &str = "control.sock";
/// Bytes of a socket's path that every Unix takes (`sun_path`, with room for the closing zero).
const SOCKET_PATH_MAX: usize = 100;

/// The socket of a store, by a path that is short enough. The folder must stay open meanwhile.
#[derive(Debug)]
pub(crate) struct SocketPath {
    pub(crate) path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// A long path is reached through the open folder: `/proc/self/fd/N/control.sock`.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET_NAME);
        if path.as_os_str().len() <= SOCKET_PATH_MAX {
            return Ok(Self { path, _folder: None });
        }
        let open = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", open.as_raw_fd()));
        Ok(Self { path, _folder: Some(open) })
    }
}

/// A served socket; dropping it ends the serving and removes the file.
#[derive(Debug)]
pub struct Served {
    file: PathBuf,
    end: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Served {
    /// Ends the serving and waits until nothing of it holds the engine any more.
    pub async fn close(mut self) {
        self.end.cancel();
        if let Some(serving) = self.serving.take()
            && let Err(error) = serving.await
        {
            tracing::warn!(%error, "the control socket did not end in order");
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.cancel();
        // Left behind it would only be refused and replaced.
        let _ = fs::remove_file(&self.file).is_ok();
    }
}

/// Serves the routes on the store's socket. The caller owns the store, so that a socket that stands
/// there already was left by a dead owner.
pub fn serve(folder: &Path, face: Face) -> io::Result<Served> {
    let file = folder.join(SOCKET_NAME);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = SocketPath::of(folder)?;
    let listener = UnixListener::bind(&socket.path)?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    let end = CancellationToken::new();
    let ended = end.clone();
    let serving = tokio::spawn(async move {
        let serving = axum::serve(listener, router(face, Door::Socket));
        tokio::select! {
            served = serving.into_future() => {
                if let Err(error) = served {
                    tracing::warn!(%error, "the control socket ended");
                }
            }
            () = ended.cancelled() => {}
        }
    });
    Ok(Served { file, end, serving: Some(serving) })
}
