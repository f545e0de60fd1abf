"""Makes the files of `torch.save` in this folder, and the same tensors as safetensors.

    python make_bin.py .

All values are made up here. `tensors/` has every element type, a parameter, a scalar, an empty tensor, two views of one storage and
two names of one tensor; `shards/` has the same in two files with an index; `smollm2/` has the weights of `../families/smollm2`;
`refused/` has what the reader does not read.
"""

import collections
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def tensors():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    tied = base[:2].to(torch.bfloat16)
    return collections.OrderedDict(
        [
            ("embed.weight", tied),
            ("lm_head.weight", tied),
            ("view.first", base[:1]),
            ("view.rest", base[1:]),
            ("half", torch.tensor([0.5, -1.5, 65504.0], dtype=torch.float16)),
            ("parameter", torch.nn.Parameter(torch.tensor([[1.0], [2.0]]))),
            ("double", torch.tensor([1e300], dtype=torch.float64)),
            ("long", torch.tensor([-1, 2**40])),
            ("int", torch.tensor([-7], dtype=torch.int32)),
            ("short", torch.tensor([-7], dtype=torch.int16)),
            ("char", torch.tensor([-7], dtype=torch.int8)),
            ("byte", torch.tensor([250], dtype=torch.uint8)),
            ("bool", torch.tensor([True, False])),
            ("scalar", torch.tensor(3.25)),
            ("empty", torch.zeros(0, 5)),
        ]
    )


def main(folder):
    own = tensors()
    # As the `state_dict` of a module has it.
    own._metadata = collections.OrderedDict([("", {"version": 1})])
    for name in ["tensors", "shards", "smollm2", "refused"]:
        (folder / name).mkdir(exist_ok=True)
    torch.save(own, folder / "tensors/pytorch_model.bin")
    save_file({name: value.detach().clone().contiguous() for name, value in own.items()}, folder / "tensors.safetensors")
    names = list(own)
    shards = {"pytorch_model-00001-of-00002.bin": names[:5], "pytorch_model-00002-of-00002.bin": names[5:]}
    for file, part in shards.items():
        torch.save({name: own[name] for name in part}, folder / "shards" / file)
    index = {"metadata": {"total_size": 0}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "shards/pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")

    torch.save(load_file(folder / "../families/smollm2/model.safetensors"), folder / "smollm2/pytorch_model.bin")

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    refused = folder / "refused"
    torch.save({"x": Evil()}, refused / "evil.bin")
    torch.save({"x": torch.ones(2, 3).t()}, refused / "transposed.bin")
    torch.save({"x": torch.ones(2)}, refused / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"model": {"x": torch.ones(2)}}, refused / "nested.bin")
    torch.save({"epoch": 3, "x": torch.ones(2)}, refused / "number.bin")
    torch.save([torch.ones(2)], refused / "list.bin")
    torch.save({"x": torch.ones(2, dtype=torch.complex64)}, refused / "complex.bin")


main(Path(sys.argv[1]))
