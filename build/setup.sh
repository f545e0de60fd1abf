#!/bin/sh
# Installs what building llama.cpp and its bindings needs: a C++ compiler, make, cmake, libclang. Does nothing where all of
# it is there. On systems without apt it prints what to install.
set -eu

missing=""
have() { command -v "$1" >/dev/null 2>&1; }
have c++ || missing="$missing g++"
have make || missing="$missing make"
have cmake || missing="$missing cmake"
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # `libclang-cpp.so`, which LLVM's own packages bring, is another library: only digits may follow the dash.
    ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* \
        /usr/lib/*/libclang.so* /usr/lib/*/libclang-[0-9]*.so* \
        /usr/lib64/libclang.so* /usr/lib64/libclang-[0-9]*.so* /usr/lib/libclang.so* /usr/lib/libclang-[0-9]*.so* \
        /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib 2>/dev/null | grep -q .
}
has_libclang || missing="$missing libclang-dev"

if ! have cargo; then
    echo "setup: no Rust toolchain found; install one (1.91 or newer) from your distribution or with rustup, then try again." >&2
    exit 1
fi
[ -z "$missing" ] && exit 0

if have apt-get; then
    run=""
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || { echo "setup: as root, run: apt-get install$missing" >&2; exit 1; }
        run="sudo"
    fi
    echo "setup: installing$missing"
    # Parts of this may already be there; apt skips them. Clang's own headers come with the clang package.
    case "$missing" in *libclang-dev*) missing="$missing clang" ;; esac
    $run apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi

echo "setup: please install these and try again:$missing" >&2
case "$(uname -s)" in
    Darwin) echo "  xcode-select --install && brew install cmake llvm" >&2 ;;
    Linux)
        echo "  Fedora:    dnf install gcc-c++ make cmake clang-devel" >&2
        echo "  Arch:      pacman -S base-devel cmake clang" >&2
        echo "  openSUSE:  zypper install gcc-c++ make cmake clang-devel" >&2 ;;
    *) echo "  a C++ compiler, make, cmake 3.14 or newer, and LLVM's libclang" >&2 ;;
esac
exit 1
