//! The processor of this machine, for `mmprm doctor`. Memory and cores come from
//! [`mmprm::util::machine`].

/// The processor's name, where the system reports it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The vector instructions that llama.cpp's or mmprm's kernels use, and whether the processor has
/// them.
pub fn features() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // The standard library cannot detect AMX yet; the kernel lists it.
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
