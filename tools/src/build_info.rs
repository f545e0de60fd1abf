//! What this program is built from: its version, commit, features, and llama.cpp.

use std::sync::LazyLock;

use mmprm::engine::{BuildInfo, build_info};
use serde_json::{Value, json};

/// The commit, shortened; empty where the source was not a git checkout.
const COMMIT: &str = env!("MMPRM_COMMIT");

/// The engine backends that are compiled in.
pub fn backends() -> Vec<&'static str> {
    let all = [
        ("cpu", true),
        ("cuda", cfg!(feature = "cuda")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
    ];
    all.into_iter().filter_map(|(name, built)| built.then_some(name)).collect()
}

/// The lines that `mmprm --version` prints after the program's name.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let BuildInfo { bindings, ggml, cpu } = build_info();
        let commit = if COMMIT.is_empty() { "unknown (not built in a git checkout)" } else { COMMIT };
        let (backends, cpu) = (backends().join(", "), cpu.join(" "));
        format!(
            "{}\ncommit: {commit}\nbackends: {backends}\ncpu kernels: {cpu}\n\
             llama.cpp: llama-cpp-sys-2 {bindings}, ggml {ggml}",
            env!("CARGO_PKG_VERSION")
        )
    });
    &VERSION
}

/// The same as an object.
pub fn to_json() -> Value {
    let BuildInfo { bindings, ggml, cpu } = build_info();
    json!({
        "version": env!("CARGO_PKG_VERSION"), "commit": (!COMMIT.is_empty()).then_some(COMMIT),
        "backends": backends(), "cpu_kernels": cpu, "llama_cpp_sys_2": bindings, "ggml": ggml,
    })
}
