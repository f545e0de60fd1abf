"""Every row of the throughput record, measured in turns; called by benches/records/measure-throughput.sh, which explains it."""

import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import types

import omega
from llama_server import Server, version

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MMPRM = os.environ.get("MMPRM", str(ROOT / "target/release/mmprm"))
SERVER = os.environ["LLAMA_SERVER"]
SMOLLM = os.environ.get("SMOLLM")
RUNS = int(os.environ.get("RUNS", "5"))
ROWS = os.environ.get("ROWS", "score score-server rollouts rollouts-server annotate annotate-server start").split()
MODELS = os.environ.get("MODELS", "mini smollm2 1b").split()

SCORING = "score 16 candidates × 8 steps after 1000 tokens"
ROLLOUTS = "16 rollouts × 64 tokens after 500"
ANNOTATION = "annotate 20 problems"
# The same problems, budgets and sampling for both sides.
SEARCH = "--limit 20 --rollouts 16 --rollout-budget 100 --repetition-penalty 1 --max-tokens 300".split()
# The server's second cache in main memory is switched off: it copies states and is never hit by these requests. Without fused attention the server's scores are this program's to 1e-6, and
# it is not slower; heads 32 wide are slower with it in any work.
EXACT = "--server-flags=--cache-ram 0 --flash-attn off"
FLAGS = {"mini": EXACT, "smollm2": "--server-flags=--cache-ram 0", "1b": "--server-flags=--cache-ram 0"}
# Maximum difference between the scores of the two sides. With 16 slots the batch composition differs, so rows take other code paths,
# which matters most with 4-bit weights (and 8-bit activations): 0.043 for SmolLM2 in one step of 32; with one slot, 2e-6.
TOLERANCE = {"mini": 1e-2, "smollm2": 1e-1, "1b": 1e-2}
PROBLEMS = ROOT / "demo/mini-k12/test/test.json"


def run(*command):
    """What a program prints as JSON."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def peer(script, *arguments):
    return run(sys.executable, HERE / script, "--server", SERVER, *arguments)


def processor_seconds():
    """Processor time of all processes that have ended, including servers."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_turns(arms):
    """Runs each of `arms` once without counting, then all of them in turns, every other time in the opposite order.

    The rates that they give, and the processor time of each from start to end.
    """
    rates, costs = ({name: [] for name in arms} for _ in range(2))
    for repetition in range(RUNS + 1):
        for name in reversed(arms) if repetition % 2 == 1 else arms:
            before = processor_seconds()
            rate = arms[name](repetition)
            cost = processor_seconds() - before
            if repetition > 0:
                rates[name].append(rate)
                costs[name].append(cost)
                print(f"{name}, run {repetition}: {rate:.2f} a second, {cost:.2f} s of processor time", file=sys.stderr)
    return rates, costs


def spread(values, form="{:.2f}"):
    middle, least, most = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least}–{most})"


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def compare(work, model, asked, rates, unit, costs=None, ours="mmprm"):
    """Rows of rates by name: ours over each of the others."""
    for name in rates:
        if name != ours:
            ratios = [one / other for one, other in zip(rates[ours], rates[name])]
            note = f"{spread(rates[ours], '{:.1f}')} against {spread(rates[name], '{:.1f}')} {unit}"
            if costs:
                less = statistics.median(costs[name]) / statistics.median(costs[ours])
                note += f"; processor time {less:.1f} times"
            row(work, model, name, asked, spread(ratios) + "×", note)


class Models:
    """The models to measure, made in a folder of this run."""

    def __init__(self, work):
        self.work = work

    def threads(self, name):
        # As mmprm chooses: more than one thread does not help a model of 3 MiB.
        return "1" if name == "mini" else str(os.cpu_count())

    def prm(self, name):
        if name == "mini":
            return ROOT / "demo/models/prm-q8_0.gguf"
        if name == "1b":
            # The mini PRM's vocabulary, filled up to the size of the real one.
            folder = self.work / "1b"
            if not folder.exists():
                run(MMPRM, "--json", "bench", "synth", "--shape", "internvl2_5-1b", "--type", "q4_k_m", "-o", folder)
            return next(path for path in folder.glob("*.gguf") if not path.name.startswith("mmproj"))
        path = self.work / "smollm2-prm.gguf"
        if not path.exists():
            subprocess.run([sys.executable, HERE / "workload.py", "rename", SMOLLM, path, "<file_sep>", "<prm>"], check=True)
        return path

    def policy(self, name):
        return {"mini": ROOT / "demo/models/policy-q8_0.gguf", "smollm2": SMOLLM}.get(name) or self.prm(name)


def score(models, name):
    model = models.prm(name)
    found = run(MMPRM, "--json", "bench", "score", "--model", model, "--compare", "naive", "--repetitions", RUNS)
    row(SCORING, name, "the same engine, full prompts", "3.7×", spread(found["speedup"]["values"]) + "×",
        f"scores differ by at most {found['agreement']['largest_difference']:.1e}")
    row("processed / unique prompt tokens", name, "1", "≤ 1.02", f"{found['processed_per_unique']:.3f}", "scoring")
    row("peak memory above weights, cache, scratch", name, "", "≤ 150 MiB", f"{found['above_model_mib']:.0f} MiB", "scoring")


def score_server(models, name):
    model, threads = models.prm(name), models.threads(name)
    candidates, scored = models.work / f"candidates-{name}.json", models.work / f"scored-{name}.json"
    subprocess.run([sys.executable, HERE / "workload.py", "--server", SERVER, "--model", model, "-o", candidates], check=True)
    shared = ["--model", model, "--threads", threads, "-i", candidates, "--template", "scoring", EXACT]

    def ours(_):
        scored.unlink(missing_ok=True)
        found = run(MMPRM, "--json", "score", "--prm", model, "-i", candidates, "-o", scored, "--template",
                    "internvl2_5-scoring")
        return 16 * 8 / found["seconds"]

    def server(*more):
        checked = ["--scored", scored, "--tolerance", TOLERANCE[name]]
        return lambda _: 16 * 8 / peer("score_server.py", *shared, *checked, *more)["seconds"]

    rates, costs = in_turns({
        "mmprm": ours,
        "llama-server, one slot": server(),
        "llama-server, 16 slots": server("--slots", 16, "--context", 32768),
    })
    compare(SCORING, name, "5×", rates, "steps/s", costs)


def first_score():
    model = ["--model", ROOT / "demo/models/prm-q8_0.gguf", "--mmproj", ROOT / "demo/models/mmproj-prm-f16.gguf"]
    small = ["--candidates", 1, "--steps", 1, "--prefix", 1, "--repetitions", 1]
    found = [run(MMPRM, "--json", "bench", "score", *model, *small)["first_score_s"] for _ in range(RUNS)]
    row("start to first score", "mini", "", "≤ 0.3 s", spread(found, "{:.3f}") + " s", "with an image")


def infer(model, runs):
    return run(MMPRM, "--json", "bench", "infer", "--model", model, "--prompt", 500, "--generate", 64, "--batch", 16,
               "--compare", "naive", "--repetitions", runs)


def rollouts(models, name):
    same = infer(models.policy(name), RUNS)
    row(ROLLOUTS, name, "one by one, no reuse", "4.5×", spread(same["speedup"]["values"]) + "×",
        f"{same['agreement']['equal']} of 16 rollouts equal")


def rollouts_server(models, name):
    model, threads = models.policy(name), models.threads(name)

    def server(how):
        def tokens(_):
            found = peer("rollouts_server.py", "--model", model, "--threads", threads, "--how", how, FLAGS[name])
            return found["generated"] / sum(found["seconds"])
        return tokens

    rates, _ = in_turns({
        "mmprm": lambda _: infer(model, 1)["rows"][0]["median"],
        "llama-server, no reuse": server("alone"),
        "llama-server, prompt cache": server("cached"),
        "llama-server, 16 slots": server("slots"),
        "llama-server, n_cmpl 16": server("together"),
    })
    compare(ROLLOUTS, name, "", rates, "tokens/s")


def annotate():
    found = run(MMPRM, "--json", "bench", "annotate", "--compare", "naive", "--repetitions", RUNS, "--limit", 20,
                "--rollouts", 16, "--rollout-budget", 100, "--max-tokens", 300)
    row(ANNOTATION, "mini", "the same engine, no prefix kept", "", spread(found["speedup"]["values"]) + "×",
        f"{found['agreement']['equal']} of 20 trees equal")
    row("processed / unique prompt tokens", "mini", "1", "≤ 1.02", f"{found['processed_per_unique']:.3f}", "annotation")
    row("scheduler, sampler, search", "mini", "engine time", "≤ 5 %", f"{100 * found['overhead']:.1f} %", "annotation")


def annotate_server(work):
    folder = ROOT / "demo/models"
    model, projector = folder / "policy-q8_0.gguf", folder / "mmproj-policy-f16.gguf"

    def trees(repetition, name):
        return work / f"trees-{name}-{repetition}"

    def rate(result, output):
        return omega.labels(output) / result["seconds"]

    def ours(repetition):
        output = trees(repetition, "mmprm")
        return rate(run(MMPRM, "--json", "annotate", "--policy", model, "--mmproj", projector, "--problems", PROBLEMS,
                        *SEARCH, "-o", output), output)

    def python(*more):
        def labels(repetition):
            output = trees(repetition, "python" + "".join(more))
            return rate(peer("search_server.py", "--model", model, "--mmproj", projector, "--threads", 1, "--problems",
                             PROBLEMS, *SEARCH, "-o", output, EXACT, *more), output)
        return labels

    def remote(repetition):
        options = types.SimpleNamespace(server=SERVER, model=str(model), mmproj=str(projector), slots=16, context=16384,
                                        threads=1, server_flags=EXACT.split("=", 1)[1])
        output = trees(repetition, "remote")
        with Server(options) as server:
            return rate(run(MMPRM, "--json", "annotate", "--policy-url", f"http://127.0.0.1:{server.port}/v1",
                            "--policy-model", "mini", "--policy-parallel", 16, "--problems", PROBLEMS, *SEARCH, "-o",
                            output), output)

    rates, costs = in_turns({
        "mmprm": ours,
        "Python on llama-server, 16 slots": python(),
        "Python on llama-server, n_cmpl 16": python("--together"),
        "mmprm --policy-url on llama-server": remote,
    })
    compare(ANNOTATION, "mini", "4×", rates, "labels/s", costs)


def main():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="ascii")
                if line.startswith("model name")), platform.machine())
    print(f"{os.cpu_count()} × {cpu}, load {os.getloadavg()[0]:.1f}; {version(SERVER)}; {RUNS} runs in turns\n")
    row("work", "model", "against", "asked", "found", "")
    row(*["---"] * 6)
    with tempfile.TemporaryDirectory() as work:
        models = Models(pathlib.Path(work))
        chosen = [name for name in MODELS if name != "smollm2" or SMOLLM]
        for name in chosen:
            for what, measure in [("score", score), ("score-server", score_server), ("rollouts", rollouts),
                                  ("rollouts-server", rollouts_server)]:
                if what in ROWS:
                    measure(models, name)
        if "annotate" in ROWS:
            annotate()
        if "annotate-server" in ROWS:
            annotate_server(models.work)
        if "start" in ROWS:
            first_score()


main()
