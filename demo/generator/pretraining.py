"""Samples that teach a mini policy from random weights, for `mmprm train policy`.

    python pretraining.py read  FOLDER --n 20000 --seed 11
    python pretraining.py solve FOLDER --n 60000 --seed 12

Writes `FOLDER/samples.jsonl` and `FOLDER/images`. In both, `image_tokens` lists what is printed where each image token looks: without
that, a model from random weights does not begin to read. `read` has nothing else to learn, on images of problems and of texts at random
places. `solve` has three samples an image: a transcript, and the two wordings of the right solution, some of which continue given
steps, right ones or with an error (the continuation then follows from it).
"""

import argparse
import json
import pathlib
import random

import minik12

TILE, SIDE = 112, 4
READ = "Read the image."


def printed(chars, width):
    """The characters of an image by image token: its tiles in reading order, then the thumbnail if there are several."""
    tiles = [(TILE * i, 1) for i in range(width // TILE)]
    if len(tiles) > 1:
        tiles.append((0, len(tiles)))
    tokens = []
    for left, squeezed in tiles:
        grid = [[] for _ in range(SIDE * SIDE)]
        for char, x, y in chars:
            # A thumbnail of a wide image keeps its height: InternVL resizes it without its proportions.
            column, row = int((x / squeezed - left) * SIDE // TILE), int(y * SIDE // TILE)
            if 0 <= column < SIDE and 0 <= row < SIDE:
                grid[SIDE * row + column].append(char)
        tokens += grid
    return tokens


def scattered(rng):
    """An image of numbers and letters at random places, some in boxes."""
    canvas = minik12._Canvas(rng)
    for cell in rng.sample(range(9), rng.randint(2, 7)):
        x, y = (19 + 37 * place + rng.randint(-7, 7) for place in (cell % 3, cell // 3))
        if rng.random() < 0.4:
            canvas.box(x - 16, y - 13, x + 16, y + 13, rng.choice(canvas.fills))
        canvas.text(x, y, rng.randint(1, 99) if rng.random() < 0.8 else rng.choice("ABCDXYZPQx?"))
    return canvas.im, canvas.chars


def problem(rng):
    """A problem, its image and what is printed there."""
    chars, new = [], minik12.new_problem(rng)
    return new, minik12.render(new, rng, chars), chars


def solutions(new, rng):
    """Records of a problem: what the image shows, and its solutions."""
    yield {"question": READ, "solution": [minik12.transcript(new)]}
    for steps in (new["gold"], new["alt"]):
        given, kind = 0, rng.random()
        wrong = minik12.corrupt(new, rng) if kind < 0.11 else None
        if wrong is not None and wrong[1] + 1 < len(wrong[0]):
            steps, given = wrong[0], wrong[1] + 1
        elif kind < 0.4 and len(steps) > 1:
            given = rng.randrange(1, len(steps))
        yield {"question": new["question"], "previous": steps[:given], "solution": steps[given:]}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("stage", choices=["read", "solve"])
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--n", type=int, required=True, help="number of images")
    arguments.add_argument("--seed", type=int, required=True)
    o = arguments.parse_args()
    (o.folder / "images").mkdir(parents=True, exist_ok=True)
    # The file of samples comes last, and whole: its presence says that all images are there.
    unfinished = o.folder / "samples.jsonl.part"
    with unfinished.open("w") as samples:
        for index in range(o.n):
            rng = random.Random(f"{o.seed}-{index}")
            if o.stage == "read" and index % 3 == 0:
                image, chars = scattered(rng)
            else:
                new, image, chars = problem(rng)
            path = f"images/{index:06d}.png"
            image.save(o.folder / path)
            records = [{"question": READ, "solution": ["."]}] if o.stage == "read" else solutions(new, rng)
            for number, record in enumerate(records):
                shown = {"image": path, "image_tokens": printed(chars, image.width)}
                samples.write(json.dumps({"id": f"{o.stage}-{index}-{number}"} | shown | record) + "\n")
    unfinished.rename(o.folder / "samples.jsonl")


main()
