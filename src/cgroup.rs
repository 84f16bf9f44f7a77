//! How much memory the kernel lets this process have (cgroups(7), both versions).

use std::fs;
use std::path::{Path, PathBuf};

/// Where the groups are mounted, in containers too.
const ROOT: &str = "/sys/fs/cgroup";

/// Bytes: the lowest limit of the groups that this process is in and of those above them; `u64::MAX` if there is none.
pub fn memory_limit() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    lowest(&groups, |file| fs::read_to_string(Path::new(ROOT).join(file)).ok())
}

/// Of the groups that /proc/self/cgroup lists; `read` is given paths below [`ROOT`].
fn lowest(groups: &str, read: impl Fn(PathBuf) -> Option<String>) -> u64 {
    let of_group = |line: &str| -> Option<u64> {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        let (mount, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container the path may be the host's: then the mount itself is the group. "max" is no number.
        let limits = Path::new(path).ancestors().filter_map(|group| {
            let text = read(Path::new(mount).join(group).join(file))?;
            text.trim().parse().ok()
        });
        limits.min()
    };
    groups.lines().filter_map(of_group).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_counts() {
        let read = |file: PathBuf| match file.to_str()? {
            "memory.max" => Some("67108864\n".to_owned()),
            "system.slice/memory.max" => Some("max\n".to_owned()),
            "system.slice/wa.service/memory.max" => Some("33554432\n".to_owned()),
            "memory/memory.limit_in_bytes" => Some("16777216\n".to_owned()),
            _ => None,
        };
        for (groups, expected) in [
            ("0::/system.slice/wa.service\n", 32 << 20),
            ("0::/system.slice/other.service\n", 64 << 20),
            ("0::/\n", 64 << 20),
            ("3:cpuset:/\n4:memory:/docker/1\n0::/\n", 16 << 20),
            ("5:pids:/docker/1\n", u64::MAX),
            ("nonsense\n", u64::MAX),
            ("", u64::MAX),
        ] {
            assert_eq!(lowest(groups, read), expected, "{groups:?}");
        }
        assert_eq!(lowest("0::/system.slice", |_| None), u64::MAX);
    }
}
