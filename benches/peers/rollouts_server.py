"""16 rollouts of 64 tokens after a prompt of 500 from llama-server: the peer of `mmprm bench infer`.

    python benches/peers/rollouts_server.py --server llama-server --model policy.gguf --how alone|cached|slots|together
        [--prompt 500] [--rollouts 16] [--tokens 64]

`alone`: one request after another, each processing its prompt again. `cached`: one after another, with the prompt cache.
`slots`: all at once, a slot each. `together`: one request for all (`n_cmpl`). Prints one JSON object.
"""

import argparse
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from llama_server import Server, flags, version


def main():
    parser = argparse.ArgumentParser()
    flags(parser, 0, 16384)
    parser.add_argument("--how", choices=["alone", "cached", "slots", "together"], default="together")
    parser.add_argument("--prompt", type=int, default=500)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    side_by_side = options.how in ("slots", "together")
    options.slots = options.slots or (options.rollouts if side_by_side else 1)
    settings = {
        "n_predict": options.tokens, "ignore_eos": True, "cache_prompt": options.how != "alone", "temperature": 1.0,
        "samplers": ["top_k", "top_p", "temperature"], "top_k": 50, "top_p": 0.9,
    }
    with Server(options) as server, ThreadPoolExecutor(options.slots) as pool:
        pieces = server.tokens(" ".join(f"{number} and" for number in range(2000)))
        seconds, processed, generated = [], 0, 0
        for run in range(options.runs):
            # A new prompt each time: the previous one is still in the cache.
            random.seed(run)
            prompt = random.sample(pieces, options.prompt)
            started = time.perf_counter()
            if options.how == "together":
                replies = server.complete(prompt, seed=run, n_cmpl=options.rollouts, **settings)
            else:
                ask = [pool.submit(server.complete, prompt, seed=index, **settings) for index in range(options.rollouts)]
                replies = [reply.result() for reply in ask]
            seconds.append(time.perf_counter() - started)
            processed += sum(reply["timings"]["prompt_n"] for reply in replies)
            generated += sum(reply["tokens_predicted"] for reply in replies)
        json.dump({
            "seconds": seconds, "processed": processed, "generated": generated, "how": options.how,
            "slots": options.slots, "threads": options.threads, "version": version(options.server),
            "peak_mib": server.peak_mib(),
        }, sys.stdout)
        print()


main()
