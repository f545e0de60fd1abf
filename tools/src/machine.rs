//! What the machine is: processor, memory, and how much of it this process has taken.

/// Memory of the machine in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What could be had without swapping.
    pub available: u64,
}

/// The machine's memory, where the system tells.
pub fn memory() -> Option<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(Memory { total: kibibytes(&text, "MemTotal:")?, available: kibibytes(&text, "MemAvailable:")? })
}

/// The most memory in bytes that this process has had so far, pages of mapped files included; where the system tells.
pub fn peak_memory() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The number after `name` on its line, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix("kB")?;
    number.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// The processor's name, where the system tells.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The vector instructions that llama.cpp's kernels or this program's use, and whether the processor has them.
pub fn features() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // The standard library cannot ask for AMX yet; the kernel tells.
        let has = |flag: &str| {
            flags
                .lines()
                .find(|line| line.starts_with("flags"))
                .is_some_and(|line| line.split(' ').any(|one| one == flag))
        };
        vec![
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("f16c", is_x86_feature_detected!("f16c")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bw", is_x86_feature_detected!("avx512bw")),
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
            ("amx-int8", has("amx_int8")),
            ("amx-bf16", has("amx_bf16")),
        ]
    }
    #[cfg(target_arch = "aarch64")]
    {
        vec![("neon", true), ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod"))]
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   1 kB\nHugePages_Total:       3\n";
        assert_eq!(kibibytes(text, "MemTotal:"), Some(24_000_000 << 10));
        assert_eq!(kibibytes(text, "HugePages_Total:"), None);
    }
}
