//! What this process takes from the system, and gives up.
//!
//! Promises: after [`confine`] neither this thread nor one it starts can gain privileges, run a program, or change a
//! file, but for unlinking in the directories of its own Unix sockets; reading stays allowed (name resolution, secrets that rotate, `/proc` for metrics). What the kernel does not
//! know is left out and said, never a reason not to start.
//! Must not know: configuration, sockets.

use landlock::{
    ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;

/// What came of [`confine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    pub no_new_privs: bool,
    /// `full`, `partial` (an older kernel) or `none`.
    pub landlock: &'static str,
    /// Why it is less than it could be.
    pub reason: Option<String>,
}

/// Confines the calling thread and every thread that it will start: call it while there is one.
/// `unlink_in`: directories in which a file may still be removed.
pub fn confine(unlink_in: &[PathBuf]) -> Confinement {
    let privileges = rustix::thread::set_no_new_privs(true);
    let (landlock, landlock_reason) = match read_only_files(unlink_in) {
        Ok(RulesetStatus::FullyEnforced) => ("full", None),
        Ok(RulesetStatus::PartiallyEnforced) => ("partial", Some("the kernel knows a part of Landlock".to_owned())),
        Ok(_) => ("none", Some("the kernel has no Landlock, or it is off".to_owned())),
        Err(error) => ("none", Some(error.to_string())),
    };
    let reason = privileges
        .err()
        .map(|error| format!("no_new_privs: {error}"))
        .or(landlock_reason);
    Confinement {
        no_new_privs: privileges.is_ok(),
        landlock,
        reason,
    }
}

/// Landlock denies what a ruleset handles and no rule allows.
fn read_only_files(unlink_in: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let denied = AccessFs::from_write(ABI::V5) | AccessFs::Execute;
    Ok(Ruleset::default()
        .handle_access(denied)?
        .create()?
        .add_rules(path_beneath_rules(unlink_in, AccessFs::RemoveFile))?
        .restrict_self()?
        .ruleset)
}

/// Raises the soft limit of open files to the hard one and returns it (`None`: no limit). Each app connection is one
/// file, and the usual soft limit of 1024 is there only for `select(2)`.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        raised.current
    } else {
        limit.current
    }
}

/// A core file would hold every key, on a disk, for as long as nobody looks.
pub fn no_core_dumps() {
    let limit = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit is always allowed; if it is not here, the start is worth more.
    let _ = setrlimit(Resource::Core, limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command, thread};

    /// In a thread of its own: it is confined for good.
    #[test]
    fn a_confined_thread_reads_and_neither_writes_nor_runs() {
        let path = std::env::temp_dir().join(format!("wa-sidecar-confine-{}", std::process::id()));
        let written = path.clone();
        let confinement = thread::spawn(move || {
            let confinement = confine(&[]);
            assert!(fs::read("/proc/self/stat").is_ok());
            if confinement.landlock != "none" {
                assert!(fs::write(&written, "x").is_err());
                assert!(Command::new("/bin/true").status().is_err());
            }
            confinement
        });
        let confinement = confinement.join().expect("the thread's asserts");
        assert!(confinement.no_new_privs);
        assert!(!path.exists());
    }

    #[test]
    fn no_core_file_is_written() {
        no_core_dumps();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(raised, limit.current);
        assert_eq!(limit.current, limit.maximum);
    }
}
