//! Which llama.cpp is linked, and for which processor it was compiled.

use std::ffi::{CStr, c_int};

use llama_cpp_sys_2 as sys;

/// Version of the package `llama-cpp-sys-2`, which contains llama.cpp; pinned exactly in the
/// workspace's `Cargo.toml`.
const BINDINGS: &str = "0.1.161";

/// What is known of the linked llama.cpp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of the package `llama-cpp-sys-2`.
    pub bindings: &'static str,
    /// Version of ggml, llama.cpp's tensor library.
    pub ggml: String,
    /// Instruction sets that its CPU kernels were compiled for, such as `avx2`.
    pub cpu: Vec<&'static str>,
}

/// The linked llama.cpp. Starts no backend and touches no device.
pub fn build_info() -> BuildInfo {
    let features: [(&str, unsafe extern "C" fn() -> c_int); 17] = [
        ("avx", sys::ggml_cpu_has_avx),
        ("avx2", sys::ggml_cpu_has_avx2),
        ("fma", sys::ggml_cpu_has_fma),
        ("f16c", sys::ggml_cpu_has_f16c),
        ("bmi2", sys::ggml_cpu_has_bmi2),
        ("avx_vnni", sys::ggml_cpu_has_avx_vnni),
        ("avx512", sys::ggml_cpu_has_avx512),
        ("avx512_vbmi", sys::ggml_cpu_has_avx512_vbmi),
        ("avx512_vnni", sys::ggml_cpu_has_avx512_vnni),
        ("avx512_bf16", sys::ggml_cpu_has_avx512_bf16),
        ("amx_int8", sys::ggml_cpu_has_amx_int8),
        ("neon", sys::ggml_cpu_has_neon),
        ("dotprod", sys::ggml_cpu_has_dotprod),
        ("i8mm", sys::ggml_cpu_has_matmul_int8),
        ("sve", sys::ggml_cpu_has_sve),
        ("sme", sys::ggml_cpu_has_sme),
        ("llamafile", sys::ggml_cpu_has_llamafile),
    ];
    // SAFETY: each of these functions takes nothing and returns a constant.
    let cpu = features.into_iter().filter(|(_, has)| unsafe { has() } != 0).map(|(name, _)| name).collect();
    // SAFETY: the function returns a string literal, which ends in NUL and lives as long as the
    // program.
    let ggml = unsafe { CStr::from_ptr(sys::ggml_version()) };
    BuildInfo { bindings: BINDINGS, ggml: ggml.to_string_lossy().into_owned(), cpu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_version_is_the_pinned_one() {
        let manifest = include_str!("../../../Cargo.toml");
        assert!(manifest.contains(&format!("llama-cpp-sys-2 = {{ version = \"={BINDINGS}\"")));
        assert!(build_info().ggml.contains('.'));
    }
}
