#!/bin/sh
# Fuzzes every target for $1 seconds, from the stored corpus on. New inputs go to target/fuzz/corpus; what breaks a target goes to
# fuzz/artifacts and ends the run.
set -eu
seconds=${1:-60}
cd "$(dirname "$0")/../fuzz"

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is not installed; run: cargo install cargo-fuzz --locked" >&2
    exit 1
fi
# libFuzzer needs unstable compiler flags; this admits them on the stable toolchain too.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="$PWD/../target/fuzz"

cargo fuzz build --fuzz-dir . --sanitizer none
for target in $(cargo fuzz list --fuzz-dir .); do
    found="$CARGO_TARGET_DIR/corpus/$target"
    mkdir -p "$found"
    echo "fuzz: $target, $seconds seconds"
    cargo fuzz run --fuzz-dir . --sanitizer none "$target" "$found" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=512 -print_final_stats=1
done
