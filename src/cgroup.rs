//! How much memory the kernel lets this process have (cgroups(7), version 2).

use std::fs;
use std::path::Path;

/// Where version 2 is mounted, in containers too.
const ROOT: &str = "/sys/fs/cgroup";

/// Bytes: the lowest limit of the group that this process is in and of those above it; `u64::MAX` if there is none.
pub fn memory_limit() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    lowest(&groups, |group| {
        fs::read_to_string(Path::new(ROOT).join(group).join("memory.max")).ok()
    })
}

/// Of the groups that /proc/self/cgroup lists; `limit` is what the kernel says of one by its path.
fn lowest(groups: &str, limit: impl Fn(&Path) -> Option<String>) -> u64 {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some(own) = own else { return u64::MAX };
    Path::new(own)
        .ancestors()
        .filter_map(limit)
        // "max" is no number.
        .filter_map(|text| text.trim().parse().ok())
        .min()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_counts() {
        let limit = |group: &Path| match group.to_str()? {
            "" => Some("67108864\n".to_owned()),
            "system.slice" => Some("max\n".to_owned()),
            "system.slice/wa.service" => Some("33554432\n".to_owned()),
            _ => None,
        };
        for (groups, expected) in [
            ("0::/system.slice/wa.service\n", 32 << 20),
            ("0::/system.slice/other.service\n", 64 << 20),
            ("0::/\n", 64 << 20),
            ("5:memory:/docker/1\n", u64::MAX),
            ("", u64::MAX),
        ] {
            assert_eq!(lowest(groups, limit), expected, "{groups:?}");
        }
        assert_eq!(lowest("0::/system.slice", |_| None), u64::MAX);
    }
}
