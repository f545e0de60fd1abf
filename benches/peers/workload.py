"""Candidates to score, of given sizes in tokens of a given model, made of what the mini policy wrote.

    python benches/peers/workload.py --server llama-server --model prm.gguf -o candidates.json
        [--prefix 1000] [--candidates 16] [--steps 8] [--step-tokens 25]

One problem without an image, in the form that `mmprm score` reads: a question of `--prefix` tokens, the conversation around it
included, and candidates that share no step.

    python benches/peers/workload.py rename IN.gguf OUT.gguf '<file_sep>' '<prm>'

copies a GGUF file and renames one token of its vocabulary: a plain language model then has a step token and can score.
"""

import argparse
import itertools
import json
import pathlib
import struct
import sys

from llama_server import SYSTEM, Server, flags

ROLLOUTS = pathlib.Path(__file__).resolve().parents[2] / "demo/mini-k12/test/rollouts.jsonl"


def make():
    parser = argparse.ArgumentParser()
    flags(parser, 1, 512)
    parser.add_argument("-o", "--output", required=True, type=pathlib.Path)
    for name, default in [("prefix", 1000), ("candidates", 16), ("steps", 8), ("step-tokens", 25)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with ROLLOUTS.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    words = iter(" ".join(step for record in records for rollout in record["rollouts"] for step in rollout["steps"]).split())
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<|im_start|>assistant\nQuestion: "
    with Server(options) as server:

        def text(tokens, before=""):
            """Random words, together `tokens` tokens long."""
            chosen = []
            while (missing := tokens - len(server.tokens(before + " ".join(chosen)))) > 0:
                # Hardly a word is more than four tokens.
                chosen += itertools.islice(words, max(missing // 4, 1))
            return " ".join(chosen)

        question = text(options.prefix, head)
        splits = [[text(options.step_tokens - 1) for _ in range(options.steps)] for _ in range(options.candidates)]
    record = {"question": question, "image_path": None, "solutions_splits": splits}
    options.output.write_text(json.dumps([record], ensure_ascii=False), encoding="utf-8")


# Sizes of GGUF's value types by number; 8 is a string, 9 an array.
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class Reader:
    """Reads the header of a GGUF file."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def string(self):
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at]

    def value(self, kind, found, key):
        if kind == 8:
            self.string()
        elif kind == 9:
            kind, count = self.number("I"), self.number("Q")
            for _ in range(count):
                if key == b"tokenizer.ggml.tokens":
                    at = self.at
                    found.setdefault(self.string(), at)
                else:
                    self.value(kind, found, key)
        else:
            self.at += SIZES[kind]


def rename(source, target, old, new):
    data = pathlib.Path(source).read_bytes()
    reader = Reader(data)
    assert reader.number("I") == 0x46554747 and reader.number("I") == 3, "not a GGUF file of version 3"
    tensors, keys, found = reader.number("Q"), reader.number("Q"), {}
    for _ in range(keys):
        key = reader.string()
        assert key != b"general.alignment", "an alignment of its own"
        reader.value(reader.number("I"), found, key)
    for _ in range(tensors):
        reader.string()
        dimensions = reader.number("I")
        reader.at += 8 * dimensions + 4 + 8
    at, old, new = found[old.encode()], old.encode(), new.encode()
    head = data[:at] + struct.pack("<Q", len(new)) + new + data[at + 8 + len(old) : reader.at]
    # Tensors begin at the next multiple of 32.
    pathlib.Path(target).write_bytes(head + bytes(-len(head) % 32) + data[reader.at + -reader.at % 32 :])


if sys.argv[1:2] == ["rename"]:
    rename(*sys.argv[2:])
else:
    make()
