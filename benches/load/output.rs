//! Files that results go to.
//!
//! Promises: a path that cannot be written to is refused before anything runs, by the name of its flag.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf, absolute},
};

/// Whether `path`, given as `flag`, can be written to; what stands there stays.
///
/// # Errors
/// Flag, path, and why not.
pub fn judge(flag: &str, path: Option<&PathBuf>) -> Result<(), String> {
    let Some(path) = path.filter(|path| !is_stdout(path)) else {
        return Ok(());
    };
    let is_new = !path.exists();
    let wrong = |error: io::Error| format!("--{flag} {}: {error}", path.display());
    OpenOptions::new().append(true).create(true).open(path).map_err(wrong)?;
    if is_new {
        fs::remove_file(path).map_err(wrong)?;
    }
    Ok(())
}

/// `-` stands for stdout.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
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
