//! Unix sockets as files: taken over when stale, never when alive, gone after an orderly end.
//!
//! Promises: only a socket that nobody listens on is removed, and only one that this process bound is unlinked at the end; the file has
//! its mode from birth. Must be called while there is one thread: the umask is the process's.
//! Must not know: what is accepted.

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The file of a socket that this process bound.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Device, inode, and when it was made: an inode is soon used again, and nothing writes to a socket's file.
type Identity = (u64, u64, i64, i64);

fn identity(found: &fs::Metadata) -> Identity {
    (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&found),
        })
    }

    /// Unlinks it, unless it has gone or another process has taken its place.
    fn remove(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if identity(&found) == self.identity => fs::remove_file(&self.path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The files of all sockets that this process bound; unlinked when dropped.
#[derive(Debug, Default)]
pub struct SocketFiles(Vec<SocketFile>);

impl SocketFiles {
    pub fn add(&mut self, file: SocketFile) {
        self.0.push(file);
    }

    /// Where files must still be removable at the end.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<_> = self.0.iter().filter_map(|file| file.path.parent()).collect();
        directories.sort();
        directories.dedup();
        directories.into_iter().map(Path::to_owned).collect()
    }
}

impl Drop for SocketFiles {
    /// What cannot be unlinked is stale from now on, and the next start takes it over.
    fn drop(&mut self) {
        for file in &self.0 {
            if let Err(error) = file.remove() {
                tracing::warn!(
                    event = "unix_socket_left",
                    reason = %error,
                    path = %file.path.display(),
                    "cannot remove the socket's file; the next start takes it over"
                );
            }
        }
    }
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    #[error("its directory does not exist")]
    NoDirectory,
    #[error("another program listens there")]
    Alive,
    #[error("there is a file that is not a socket")]
    NotASocket,
    #[error("the socket there is stale, and cannot be removed: {0}")]
    Stale(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Listens at `path`, in a file of that mode.
pub fn bind(path: &Path, mode: u32, backlog: i32) -> Result<(UnixListener, SocketFile), UnixError> {
    if path.parent().is_some_and(|directory| !directory.is_dir()) {
        return Err(UnixError::NoDirectory);
    }
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o777 & !mode));
    let bound = SockAddr::unix(path).and_then(|address| socket.bind(&address));
    rustix::process::umask(before);
    bound?;
    let file = SocketFile::of(path)?;
    if let Err(error) = socket.listen(backlog) {
        let _ = file.remove();
        return Err(error.into());
    }
    Ok((socket.into(), file))
}

/// Removes a stale socket, and nothing else.
fn make_way(path: &Path) -> Result<(), UnixError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => return Err(UnixError::NotASocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog would make a blocking connect wait.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(UnixError::Stale),
        // Nobody listens, and it went away meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(UnixError::Alive),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(UnixError::Alive),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("wa-sidecar-unix-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("created");
        path
    }

    #[test]
    fn stale_is_taken_over_alive_is_not_and_other_files_are_never_touched() {
        let directory = directory("stale");
        let path = directory.join("s");
        let (first, file) = bind(&path, 0o600, 16).expect("bound");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path, 0o600, 16), Err(UnixError::Alive)));
        drop(first);
        let (second, taken_over) = bind(&path, 0o660, 16).expect("stale");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o660);
        file.remove().expect("not its own any more");
        assert!(path.exists(), "another's socket was removed");
        drop(second);
        taken_over.remove().expect("its own");
        assert!(!path.exists());

        fs::write(&path, "precious").expect("written");
        assert!(matches!(bind(&path, 0o660, 16), Err(UnixError::NotASocket)));
        assert_eq!(fs::read(&path).expect("there"), b"precious");
        let missing = directory.join("missing/s");
        assert!(matches!(bind(&missing, 0o660, 16), Err(UnixError::NoDirectory)));
        let _ = fs::remove_dir_all(&directory);
    }
}
