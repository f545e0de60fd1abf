#!/bin/sh
# Remakes docs/solve.svg and docs/transcript.md: what solve, show and choose print for the demo. Needs `make demo` and Python.
#   MMPRM=target/release/mmprm sh docs/transcript.sh
set -eu
cd "$(dirname "$0")/.."
mmprm=$(realpath "${MMPRM:-target/release/mmprm}")
export XDG_CONFIG_HOME="$PWD/demo/run" COLUMNS=92
image=test-2-00046.png
question="Both sides weigh the same. How heavy is one box x?"
solve() { (cd demo/mini-k12/test/images && "$mmprm" solve "$image" "$question"); }

CLICOLOR_FORCE=1 solve | python3 docs/terminal-svg.py "mmprm solve $image \"$question\"" "demo/mini-k12/test/images/$image" > docs/solve.svg

# The first $1 lines of what a command prints.
first() {
    lines=$1
    shift
    printf '\n```console\n$ mmprm %s\n' "$*"
    "$mmprm" "$@" > "$part"
    head -n "$lines" "$part"
    [ "$(wc -l < "$part")" -le "$lines" ] || printf '…\n'
    printf '```\n'
}
part=$(mktemp)
trap 'rm -f "$part"' EXIT
{
    printf '# What it looks like\n\nMade by `docs/transcript.sh` after `make demo`; in a terminal, bars and values have colours.\n\n## One question\n'
    printf '\n```console\n$ mmprm solve %s "%s"\n' "$image" "$question"
    solve
    printf '```\n\n## Files\n'
    first 12 show demo/run/scored.json
    first 32 show demo/run/scored.json 45
    first 60 show demo/run/trees test-2-00007
    first 4 choose demo/run/scored.json
} > docs/transcript.md
