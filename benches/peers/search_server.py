"""OmegaPRM in plain Python against llama-server: the peer of `mmprm annotate`.

    python benches/peers/search_server.py --server llama-server --model policy.gguf [--mmproj …] --problems problems.json
        [-o TREES] [--together] [search and sampling as for `mmprm annotate`]

The same prompts, sampling, budgets and seeds (as far as a server reproduces them). 16 slots with the prompt cache on, 16 requests
in flight, several problems at once, so that the slots stay full; `--together` asks for all rollouts of a state in one request
(`n_cmpl`), which reads a prompt once for all of them. Prints one JSON object; a label is the Monte Carlo value of
a state below the root of a tree.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from llama_server import SYSTEM, Server, flags, picture, version, with_pictures
from omega import Search, is_right, steps_of, tree, user_message


def main():
    parser = argparse.ArgumentParser()
    flags(parser, 16, 16384)
    parser.add_argument("--problems", required=True, type=pathlib.Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("-o", "--output", type=pathlib.Path)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--problems-at-once", type=int, default=4)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--rollout-budget", type=int, default=1000)
    parser.add_argument("--max-searches", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=50)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--repetition-penalty", type=float, default=1.05)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    problems = json.loads(options.problems.read_text(encoding="utf-8"))[: options.limit]
    sampling = {
        "n_predict": options.max_tokens, "cache_prompt": True, "temperature": options.temperature,
        "samplers": ["penalties", "temperature", "top_k", "top_p"], "top_k": options.top_k, "top_p": options.top_p,
        "repeat_penalty": options.repetition_penalty, "repeat_last_n": options.context, "stop": ["<|im_end|>"],
    }
    with Server(options) as server, ThreadPoolExecutor(options.slots) as pool:

        def search(problem):
            path = problem.get("image_path")
            pictures = [picture(options.problems.parent / path)] if path else []

            def draw(prefix, count, node):
                prompt = with_pictures(
                    f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n" + f"{server.marker}\n" * len(pictures)
                    + f"{user_message(problem['question'], prefix)}<|im_end|>\n<|im_start|>assistant\n",
                    pictures,
                )

                def seed(index):
                    name = f"{options.seed} {problem['id']} {node} {index}"
                    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") >> 1

                if options.together:
                    replies = pool.submit(server.complete, prompt, seed=seed(0), n_cmpl=count, **sampling).result()
                else:
                    asked = [pool.submit(server.complete, prompt, seed=seed(index), **sampling) for index in range(count)]
                    replies = [reply.result() for reply in asked]
                for reply in replies:
                    counts["processed"] += reply["timings"]["prompt_n"]
                    counts["generated"] += reply["tokens_predicted"]
                return [steps_of(reply["content"]) for reply in replies]

            found = Search(
                draw, lambda rollout: is_right(problem, rollout), options.rollouts, options.rollout_budget,
                options.max_searches,
            )
            root = found.run()
            counts["labels"] += sum(1 for _ in root.below()) - 1
            counts["rollouts"] += found.drawn
            counts["searches"] += found.searches
            if options.output:
                text = json.dumps(tree(problem, root), indent=4, ensure_ascii=False)
                stem = hashlib.md5(json.dumps(problem).encode()).hexdigest()
                (options.output / f"{stem}.json").write_text(text, encoding="utf-8")
            return root.value

        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
        counts = dict.fromkeys(("labels", "rollouts", "searches", "processed", "generated"), 0)
        started = time.perf_counter()
        with ThreadPoolExecutor(options.problems_at_once) as searches:
            values = list(searches.map(search, problems))
        seconds = time.perf_counter() - started
        json.dump({
            "seconds": seconds, **counts, "labels_per_second": counts["labels"] / seconds,
            "rollouts_per_second": counts["rollouts"] / seconds, "root_value": sum(values) / len(values),
            "slots": options.slots, "threads": options.threads, "together": options.together,
            "version": version(options.server), "peak_mib": server.peak_mib(),
        }, sys.stdout)
        print()


main()
