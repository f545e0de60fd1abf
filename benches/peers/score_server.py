"""Step scores from llama-server, one request a step, as its interface requires: the peer of `mmprm score`.

    python benches/peers/score_server.py --server llama-server --model prm.gguf [--mmproj …] -i candidates.json
        [--slots 1] [--scored scored.json --tolerance 1e-3] [--limit N]

Each step of each candidate is one `/completion` of one token whose prompt ends in that step's token, with the prompt cache on;
the scores are the two label tokens' probabilities, which a bias lifts above all others. With `--slots 1` requests run one by
one, so that the one cache serves every candidate; with more, candidates are scored side by side, a slot each. `--scored`
is the output of `mmprm score` for the same file: scores must agree within `--tolerance`. Prints one JSON object.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from llama_server import SYSTEM, Server, flags, picture, version, with_pictures

STEP = "<prm>"
# Lifts both labels above every other token without changing the distance between them.
LIFT = 100.0


def prompts(record, steps, pictures, marker, template):
    """The prompts of a candidate's steps, in order."""
    turn = "<|im_start|>user\n" + ("<|im_end|>\n" if template == "training" else "") + "<|im_start|>assistant\n"
    between = "\n\n" if template == "training" else ""
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{turn}" + f"{marker}\n" * len(pictures)
    text += f"Question: {record['question']}\nProcess: "
    for step in steps:
        text += step + STEP
        yield with_pictures(text, pictures)
        text += between


def main():
    parser = argparse.ArgumentParser()
    flags(parser, 1, 8192)
    parser.add_argument("-i", "--input", required=True, type=pathlib.Path)
    parser.add_argument("--data-root", type=pathlib.Path)
    parser.add_argument("--template", choices=["scoring", "training"], default="scoring")
    parser.add_argument("--scored", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    records = json.loads(options.input.read_text(encoding="utf-8"))[: options.limit]
    root = options.data_root or options.input.parent
    with Server(options) as server, ThreadPoolExecutor(options.slots) as pool:
        yes, no = (server.tokens(word) for word in ("Yes", "No"))
        assert len(yes) == len(no) == len(server.tokens(STEP)) == 1, "not a process reward model: labels are several tokens"
        yes, no = yes[0], no[0]
        settings = {
            "n_predict": 1, "cache_prompt": True, "temperature": 1.0, "samplers": ["top_k"], "top_k": 2, "n_probs": 2,
            "post_sampling_probs": True, "logit_bias": [[yes, LIFT], [no, LIFT]],
        }
        counts = {"requests": 0, "processed": 0, "reused": 0}

        def score(record, steps, pictures, slot):
            scores, timings = [], []
            for prompt in prompts(record, steps, pictures, server.marker, options.template):
                reply = server.complete(prompt, **settings, **({} if slot is None else {"id_slot": slot}))
                chances = {top["id"]: top["prob"] for top in reply["completion_probabilities"][0]["top_probs"]}
                scores.append(chances.get(yes, 0.0) / (chances.get(yes, 0.0) + chances.get(no, 0.0)))
                timings.append((reply["timings"]["prompt_n"], reply["timings"]["cache_n"]))
            return scores, timings

        started = time.perf_counter()
        scored = []
        for record in records:
            paths = record.get("image_paths") or ([record["image_path"]] if record.get("image_path") else [])
            pictures = [picture(root / path) for path in paths]
            jobs = [
                pool.submit(score, record, steps, pictures, index % options.slots if options.slots > 1 else None)
                for index, steps in enumerate(record["solutions_splits"])
            ]
            scored.append([job.result() for job in jobs])
        seconds = time.perf_counter() - started
        for _, timings in (candidate for record in scored for candidate in record):
            counts["requests"] += len(timings)
            counts["processed"] += sum(processed for processed, _ in timings)
            counts["reused"] += sum(reused for _, reused in timings)
        result = {
            "seconds": seconds, "steps_per_second": counts["requests"] / seconds, **counts, "slots": options.slots,
            "threads": options.threads, "version": version(options.server), "peak_mib": server.peak_mib(),
            "scores": [[scores for scores, _ in record] for record in scored],
        }
    agree = True
    if options.scored:
        ours = [record["prm_scores"] for record in json.loads(options.scored.read_text(encoding="utf-8"))]
        distances = [
            abs(one - other)
            for ours_record, record in zip(ours, result["scores"])
            for ours_candidate, candidate in zip(ours_record, record, strict=True)
            for one, other in zip(ours_candidate, candidate, strict=True)
        ]
        result["largest_difference"], result["median_difference"] = max(distances), statistics.median(distances)
        agree = max(distances) <= options.tolerance
    print(json.dumps(result))
    if not agree:
        sys.exit(f"scores differ by up to {result['largest_difference']:.2e}, more than {options.tolerance:.0e}")


main()
