"""Adds the truth of each step to a file of candidates, by what MiniK12 records of its problems.

    python step_truth.py candidates.json TRUTH.json OUTPUT.json

TRUTH.json is the side file of the problems. Each record gets `family` and `kind`, `step_labels` (for each candidate 1 for a right
step and 0 for a wrong one, up to the first wrong one) and `step_errors` (for each candidate the kind of its first error, or null),
which `mmprm score` carries along and `mmprm eval steps` reads.
"""

import argparse
import json

import minik12


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("candidates")
    arguments.add_argument("truth")
    arguments.add_argument("output")
    given = arguments.parse_args()
    problems = {problem["id"]: problem for problem in json.load(open(given.truth))}
    records = json.load(open(given.candidates))
    for record in records:
        problem = problems[record["id"]]
        record.update(family=problem["family"], kind=problem["kind"], step_labels=[], step_errors=[])
        for solution in record["solutions_splits"]:
            labels, error = [], None
            for text in solution:
                right, why = minik12.check_step(problem, text)
                labels.append(int(bool(right)))
                if not right:
                    error = why
                    break
            record["step_labels"].append(labels)
            record["step_errors"].append(error)
    with open(given.output, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")


main()
