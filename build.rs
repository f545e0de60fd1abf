//! Compiles the engine's C++: `src/engine/ffi/shim.cpp`, over the headers that `llama-cpp-sys-2`
//! installed. Without the feature `engine` there is nothing to do, and no C++ compiler is needed.

fn main() {
    #[cfg(feature = "engine")]
    compile_shim();
    println!("cargo:rerun-if-changed=build.rs");
}

#[cfg(feature = "engine")]
fn compile_shim() {
    const SHIM: &str = "src/engine/ffi/shim.cpp";
    // The directory of ggml's CMake files, lib/cmake beside include.
    let cmake = std::env::var_os("DEP_LLAMA_GGML_CMAKE_DIR").expect("llama-cpp-sys-2 says where it installed ggml");
    let include = std::path::Path::new(&cmake).join("../../include");
    println!("cargo:rerun-if-changed={SHIM}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .flag_if_supported("/EHsc")
        .include(include)
        .file(SHIM)
        .compile("mmprm_shim");
}
