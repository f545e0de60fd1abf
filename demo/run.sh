#!/bin/sh
# The whole pipeline on the shipped mini models. Called by `make demo`; leaves its files in demo/run.
set -eu
cd "$(dirname "$0")"
mmprm=${MMPRM:-mmprm}
case "$mmprm" in /*) ;; */*) mmprm=../$mmprm ;; esac
policy=models/policy-q8_0.gguf
policy_vision=models/mmproj-policy-f16.gguf
prm=models/implicit-prm-q8_0.gguf
prm_vision=models/mmproj-implicit-prm-f16.gguf
yes_no=models/prm-q8_0.gguf
yes_no_vision=models/mmproj-prm-f16.gguf
problems=mini-k12/test/test.json

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ mmprm %s\n' "$*"; "$mmprm" "$@"; }
# The demo's own models, whatever the user's profile names.
export XDG_CONFIG_HOME="$PWD/run"

rm -rf run
mkdir -p run

say "1. What is the policy? A 3.8-million-parameter InternVL2.5 that reads small images and solves problems about them."
run inspect "$policy"

say "2. It writes 16 candidate solutions for each of 50 problems of the test set."
run generate --policy "$policy" --mmproj "$policy_vision" --problems "$problems" --limit 50 -n 16 \
    --repetition-penalty 1 --max-tokens 300 -o run/candidates.json

say "3. A process reward model scores every step of every candidate. This one is implicit: the probability that it would write the step."
run score --prm "$prm" --mmproj "$prm_vision" -i run/candidates.json --data-root mini-k12/test -o run/scored.json

say "4. OmegaPRM searches 10 problems for the first wrong step of wrong solutions; each step gets a Monte Carlo value."
run annotate --policy "$policy" --mmproj "$policy_vision" --problems "$problems" --limit 10 \
    --rollouts 8 --rollout-budget 150 --repetition-penalty 1 --max-tokens 300 -o run/trees

say "5. The trees become training samples: a label for each step, without human annotation."
run samples run/trees -o run/prm.jsonl
head -n 1 run/prm.jsonl

say "6. Best-of-N with a Yes/No reward model (MM-PRM's form), which does not choose well at this size."
run score --prm "$yes_no" --mmproj "$yes_no_vision" -i run/candidates.json --data-root mini-k12/test -o run/yes-no.json
run eval bon run/yes-no.json

say "7. Best-of-N with the implicit one: a random candidate, any right one, majority vote, the choice of the reward model; and a problem in
which the majority is wrong and the reward model right, with the scores of both choices' steps."
run eval bon run/scored.json --example product

say "8. One question: eight of 16 solutions answer 3; the reward model chooses 7, which is right (the image: x + 3 = 10 on a balance)."
run solve "mini-k12/test/images/test-2-00046.png" "Both sides weigh the same. How heavy is one box x?"

say "9. What the files hold: one problem in the terminal, and everything on one page."
run show run/scored.json 46 | head -n 20
echo "…"
run report run/scored.json run/trees --data-root mini-k12/test -o run/report.html

cat <<END

Open demo/run/report.html in a browser. The trees are in demo/run/trees, the training samples in demo/run/prm.jsonl, the scored
candidates in demo/run/scored.json. The models were made by this program from random weights: make recipe.

Next: make install PREFIX=\$HOME/.local, and
  mmprm convert YOUR_INTERNVL2_5_CHECKPOINT -o models
  mmprm solve --policy models/…-f16.gguf --mmproj models/mmproj-….gguf figure.png "How long is AB?"
  mmprm --help
END
