"""Solutions of MiniK12 problems as training samples for `mmprm train policy`.

    python solutions.py FOLDER [--previous 0.4] [--seed 0] > FOLDER/solutions.jsonl

FOLDER holds `problems.json` and `problems.truth.json`, as `minik12.py gen` writes them. Each problem gives its two wordings of
the right solution; in a share of them the first steps are given, so that the policy learns to continue them.
"""

import argparse
import json
import pathlib
import random


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--previous", type=float, default=0.4)
    arguments.add_argument("--seed", type=int, default=0)
    o = arguments.parse_args()
    rng = random.Random(o.seed)
    images = {p["id"]: p["image_path"] for p in json.loads((o.folder / "problems.json").read_text())}
    for truth in json.loads((o.folder / "problems.truth.json").read_text()):
        for form in ("gold_steps", "alt_steps"):
            steps = truth[form]
            given = rng.randrange(1, len(steps)) if len(steps) > 1 and rng.random() < o.previous else 0
            print(json.dumps({
                "id": f"{truth['id']}-{form[:-6]}",
                "image": images[truth["id"]],
                "question": truth["question"],
                "previous": steps[:given],
                "solution": steps[given:],
            }))


main()
