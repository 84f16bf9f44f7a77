//! Files that results go to.
//!
//! Promises: a path that cannot be written to is refused before anything runs, by the name of its flag.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, absolute},
};

/// Whether `path`, given as `flag`, can be written to; what stands there stays, and who reads from it.
///
/// # Errors
/// Flag, path, and why not.
pub fn judge(flag: &str, path: Option<&Path>) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let wrong = |error: io::Error| format!("--{flag} {}: {error}", path.display());
    match fs::metadata(path) {
        Ok(there) if there.is_file() || there.is_dir() => {
            OpenOptions::new().append(true).open(path).map_err(wrong)?;
        }
        // A pipe, a terminal.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            OpenOptions::new()
                .append(true)
                .create_new(true)
                .open(path)
                .map_err(wrong)?;
            fs::remove_file(path).map_err(wrong)?;
        }
        // Where a link leads to, a file can be made, or it is found out later.
        Err(_) if path.is_symlink() => {}
        Err(error) => return Err(wrong(error)),
    }
    Ok(())
}

/// Writes `text` to `path`, given as `flag`, and says so.
///
/// # Errors
/// Flag, path, and why not.
pub fn write(flag: &str, path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("--{flag} {}: {error}", path.display()))?;
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    eprintln!("--{flag} is in {}", whole.display());
    Ok(())
}
