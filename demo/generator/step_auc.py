"""ROC AUC of step scores: how well they separate right steps from wrong ones, by the truth that MiniK12 records.

    python step_auc.py scored.json TRUTH.json

`scored.json` is what `mmprm score` writes, TRUTH.json the side file of its problems. Each solution counts up to and including its
first wrong step: what follows from an error is neither right nor wrong by itself. Prints the ROC AUC over
all steps, over steps of the same problem only, and by family.
"""

import argparse
import collections
import json

import minik12


def auc(pairs):
    """ROC AUC of (score, is right) pairs; ties count one half."""
    ranked = sorted(pairs)
    below = right_seen = wrong_seen = 0.0
    position = 0
    while position < len(ranked):
        end = position
        while end < len(ranked) and ranked[end][0] == ranked[position][0]:
            end += 1
        right = sum(1 for _, is_right in ranked[position:end] if is_right)
        wrong = end - position - right
        below += right * wrong_seen + right * wrong / 2
        right_seen += right
        wrong_seen += wrong
        position = end
    pairs_compared = right_seen * wrong_seen
    return (below / pairs_compared if pairs_compared else float("nan")), pairs_compared


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("scored")
    arguments.add_argument("truth")
    o = arguments.parse_args()
    problems = {problem["id"]: problem for problem in json.load(open(o.truth))}
    steps = collections.defaultdict(list)
    weighted, compared = 0.0, 0
    for record in json.load(open(o.scored)):
        problem = problems[record["id"]]
        own = []
        for solution, scores in zip(record["solutions_splits"], record["prm_scores"]):
            for text, score in zip(solution, scores):
                is_right = bool(minik12.check_step(problem, text)[0])
                own.append((score, is_right))
                if not is_right:
                    break
        steps[problem["family"]] += own
        value, pairs = auc(own)
        if pairs:
            weighted += value * pairs
            compared += pairs
    everything = [pair for family in steps.values() for pair in family]
    wrong = sum(1 for _, is_right in everything if not is_right)
    print(f"steps up to the first error: {len(everything)}, of which wrong: {wrong}")
    print(f"AUC: {auc(everything)[0]:.3f}")
    print(f"AUC within a problem: {weighted / max(compared, 1):.3f}")
    for family, pairs in sorted(steps.items()):
        print(f"AUC {family}: {auc(pairs)[0]:.3f}")


main()
