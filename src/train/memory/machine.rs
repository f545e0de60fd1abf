//! What memory there is, and what this process has used of it, as Linux tells.

use std::fs;
use std::path::Path;

/// Bytes that this process could have in all: what it holds, what the system has available, and no more than its control
/// group allows. Nothing if the system does not say.
pub fn available() -> Option<u64> {
    let resident = resident()?;
    let free = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_room(Path::new("/sys/fs/cgroup"), &group).unwrap_or(u64::MAX);
    Some(resident + free.min(group))
}

/// Bytes of memory that this process holds.
pub fn resident() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The most that it has held, since the last [`reset_peak`].
pub fn peak() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Let [`peak`] begin anew from what is held now; whether the system does that.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes of a line such as `VmRSS:   1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// What the control groups of a process leave, by the text of its `cgroup` file: version 2, and the memory controller of
/// version 1. The groups above have limits too.
fn group_room(root: &Path, text: &str) -> Option<u64> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let rooms = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (controllers, path) = (parts.nth(1)?, parts.next()?.trim_start_matches('/'));
        let (root, limit, used) = match controllers {
            "" => (root.to_owned(), "memory.max", "memory.current"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => return None,
        };
        let groups = Path::new(path).ancestors().map(|group| root.join(group));
        groups.filter_map(|group| Some(number(&group.join(limit))?.saturating_sub(number(&group.join(used))?))).min()
    });
    rooms.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_kilobytes() {
        assert_eq!(field("VmPeak:\t  9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(field("VmRSS:\t  many kB\n", "VmRSS:"), None);
    }

    #[test]
    fn the_tightest_group_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(group_room(root, "0::/a/b\n"), None);
        fs::create_dir_all(root.join("a/b")).unwrap();
        for (group, limit, used) in [("a", "1000", "300"), ("a/b", "max", "200")] {
            fs::write(root.join(group).join("memory.max"), limit).unwrap();
            fs::write(root.join(group).join("memory.current"), used).unwrap();
        }
        assert_eq!(group_room(root, "0::/a/b\n"), Some(700));
        fs::create_dir_all(root.join("memory/c")).unwrap();
        fs::write(root.join("memory/c/memory.limit_in_bytes"), "500\n").unwrap();
        fs::write(root.join("memory/c/memory.usage_in_bytes"), "100\n").unwrap();
        assert_eq!(group_room(root, "3:cpu:/\n4:memory:/c\n0::/\n"), Some(400));
    }
}
