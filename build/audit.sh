#!/bin/sh
# Checks the dependencies with cargo-deny: licences, sources and banned crates always; known vulnerabilities and yanked
# versions where the RustSec database can be fetched. Where it cannot, that part is printed as skipped.
set -eu

if ! cargo deny --version >/dev/null 2>&1; then
    echo "audit: cargo-deny is not installed; run: cargo install cargo-deny --locked" >&2
    exit 1
fi
cargo deny --locked check licenses bans sources

if ! fetched=$(cargo deny --locked fetch db 2>&1); then
    printf '%s\n' "$fetched" >&2
    echo "audit: SKIPPED: advisories. The RustSec database cannot be fetched (above); known vulnerabilities were not looked for." >&2
    exit 0
fi
cargo deny --locked check advisories
