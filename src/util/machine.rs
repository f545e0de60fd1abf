//! Memory and cores that this process may use: what the system has, within the limits of its
//! control groups.
//!
//! The one source for `mmprm doctor`, `mmprm train --plan` and the trainer's measurements. Reads
//! Linux's `/proc` and `/sys/fs/cgroup` (versions 1 and 2); on other systems memory is unknown, and
//! cores are what the standard library reports.
//!
//! ```
//! if let Some(memory) = mmprm::util::machine::memory() {
//!     assert!(memory.available <= memory.total);
//! }
//! assert!(mmprm::util::machine::cores() >= 1);
//! ```

use std::fs;
use std::path::{Path, PathBuf};

/// Memory in bytes, within the limits of the process's control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What can still be allocated without swapping.
    pub available: u64,
    /// Whether a control group allows less than the system has.
    pub limited: bool,
}

/// The memory of the system and its control groups, where the system reports it.
pub fn memory() -> Option<Memory> {
    System::here().memory()
}

/// Bytes that this process can use in all: what it holds plus what is available to it.
pub fn budget() -> Option<u64> {
    Some(resident()? + memory()?.available)
}

/// Threads that can run at once: the cores the process may run on, within the CPU quota of its
/// control groups, rounded down; at least 1.
pub fn cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    System::here().core_quota().map_or(allowed, |quota| quota.min(allowed))
}

/// Bytes of memory that this process holds.
pub fn resident() -> Option<u64> {
    System::here().status("VmRSS:")
}

/// The maximum that [`resident`] has reached since the start or the last [`reset_peak`], pages of
/// mapped files included.
pub fn peak() -> Option<u64> {
    System::here().status("VmHWM:")
}

/// Restarts [`peak`] from what is held now; whether the system can do that.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Where the system's files are: `/`, or a copy of the needed ones in tests.
struct System {
    root: PathBuf,
}

/// The files of one version of control groups that limit memory.
struct MemoryFiles {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` that counts file pages which the kernel can drop at once.
    droppable: &'static str,
}

const VERSION_1: MemoryFiles = MemoryFiles {
    folder: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    droppable: "total_inactive_file",
};
const VERSION_2: MemoryFiles =
    MemoryFiles { folder: "", limit: "memory.max", used: "memory.current", droppable: "inactive_file" };

impl System {
    fn here() -> Self {
        Self { root: PathBuf::from("/") }
    }

    fn memory(&self) -> Option<Memory> {
        let text = self.text("proc/meminfo")?;
        let (mut total, mut available) = (kilobytes(&text, "MemTotal:")?, kilobytes(&text, "MemAvailable:")?);
        let mut limited = false;
        for (group, files) in self.memory_groups() {
            let Some(limit) = number(&group.join(files.limit)) else { continue };
            if limit < total {
                (total, limited) = (limit, true);
            }
            let used = number(&group.join(files.used)).unwrap_or(0);
            // File pages count as used memory, although the kernel drops those not recently used
            // before it runs out.
            let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let droppable = stat.lines().find_map(|line| line.strip_prefix(files.droppable)?.trim().parse().ok());
            available = available.min(limit.saturating_sub(used.saturating_sub(droppable.unwrap_or(0))));
        }
        Some(Memory { total, available, limited })
    }

    /// Whole cores of the smallest CPU quota of the process's control groups, at least 1.
    fn core_quota(&self) -> Option<usize> {
        let version_2 = self.groups("").into_iter().filter_map(|group| {
            let text = fs::read_to_string(group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
        });
        let version_1 = self.groups("cpu").into_iter().filter_map(|group| {
            // A quota of -1 is none.
            Some((number(&group.join("cpu.cfs_quota_us"))?, number(&group.join("cpu.cfs_period_us"))?))
        });
        let cores = version_2.chain(version_1).filter(|&(_, period)| period > 0);
        cores.map(|(quota, period)| (quota / period).max(1) as usize).min()
    }

    fn memory_groups(&self) -> impl Iterator<Item = (PathBuf, &'static MemoryFiles)> {
        [&VERSION_1, &VERSION_2]
            .into_iter()
            .flat_map(|files| self.groups(files.folder).into_iter().map(move |group| (group, files)))
    }

    /// The folders of the process's control group and of all groups above it: of `controller`'s
    /// hierarchy in version 1, of the unified one for `""`. In a container the outer groups may be
    /// invisible, and its own is mounted at the top.
    fn groups(&self, controller: &str) -> Vec<PathBuf> {
        let text = self.text("proc/self/cgroup").unwrap_or_default();
        let path = text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers.split(',').any(|one| one == controller).then(|| path.trim_start_matches('/').to_owned())
        });
        let top = self.root.join("sys/fs/cgroup").join(controller);
        path.map_or_else(Vec::new, |path| Path::new(&path).ancestors().map(|group| top.join(group)).collect())
    }

    fn status(&self, name: &str) -> Option<u64> {
        kilobytes(&self.text("proc/self/status")?, name)
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Bytes of a line such as `VmRSS:   1234 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A root with 8 GiB of memory, 6 GiB of them available, and `files`.
    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable:  6291456 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let system = System { root: folder.path().to_owned() };
        (folder, system)
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], total: u64, available: u64, limited: bool) {
        let (_folder, system) = root(files);
        assert_eq!(system.memory(), Some(Memory { total, available, limited }));
    }

    #[test]
    fn fields_are_kilobytes_found_by_their_whole_name() {
        assert_eq!(kilobytes("VmPeak:\t  9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kilobytes("VmRSS:\t  many kB\n", "VmRSS:"), None);
        assert_eq!(kilobytes("HugePages_Total:       3\n", "HugePages_Total:"), None);
    }

    #[test]
    fn without_control_groups_memory_is_the_systems() {
        check(&[], 8 * GIB, 6 * GIB, false);
        check(&[("proc/self/cgroup", "0::/a\n")], 8 * GIB, 6 * GIB, false);
        let (_folder, system) = root(&[]);
        assert_eq!(system.core_quota(), None);
        assert_eq!(System { root: "absent".into() }.memory(), None);
    }

    #[test]
    fn the_tightest_of_nested_groups_limits_memory() {
        let nested = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/a/memory.current", "536870912\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "268435456\n"),
        ];
        check(&nested, 2 * GIB, 3 * GIB / 2, true);
        let inner = [nested.as_slice(), &[("sys/fs/cgroup/a/b/memory.max", "1073741824")]].concat();
        check(&inner, GIB, 3 * GIB / 4, true);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_top() {
        check(
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "4294967296"),
                ("sys/fs/cgroup/memory.current", "1073741824"),
            ],
            4 * GIB,
            3 * GIB,
            true,
        );
    }

    #[test]
    fn version_1_limits_memory_and_has_a_large_number_for_none() {
        let group = ("proc/self/cgroup", "3:cpu,cpuacct:/c\n4:memory:/c\n0::/\n");
        let used = ("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "1073741824\n");
        check(&[group, used, ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "3221225472\n")], 3 * GIB, 2 * GIB, true);
        let none = ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "9223372036854771712\n");
        check(&[group, used, none], 8 * GIB, 6 * GIB, false);
    }

    #[test]
    fn file_pages_that_can_be_dropped_are_available() {
        check(
            &[
                ("proc/self/cgroup", "0::/a\n"),
                ("sys/fs/cgroup/a/memory.max", "2147483648"),
                ("sys/fs/cgroup/a/memory.current", "2147483648"),
                ("sys/fs/cgroup/a/memory.stat", "anon 5\nfile 1610612736\ninactive_file 1073741824\n"),
            ],
            2 * GIB,
            GIB,
            true,
        );
    }

    #[test]
    fn quotas_give_whole_cores_and_at_least_one() {
        let quota = |files: &[(&str, &str)]| root(files).1.core_quota();
        let group = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(quota(&[group, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")]), None);
        let outer = ("sys/fs/cgroup/a/cpu.max", "350000 100000\n");
        assert_eq!(quota(&[group, outer]), Some(3));
        assert_eq!(quota(&[group, outer, ("sys/fs/cgroup/a/b/cpu.max", "50000 100000")]), Some(1));
        let version_1 = ("proc/self/cgroup", "3:cpu,cpuacct:/c\n0::/\n");
        let period = ("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000");
        assert_eq!(quota(&[version_1, period, ("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1")]), None);
        assert_eq!(quota(&[version_1, period, ("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "200000")]), Some(2));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory_and_has_some_left() {
        let memory = memory().unwrap();
        assert!(memory.available <= memory.total, "{memory:?}");
        let (resident, peak) = (resident().unwrap(), peak().unwrap());
        assert!(0 < resident && resident <= peak && budget().unwrap() > resident, "{resident} {peak}");
    }
}
