"""Writes `pickles/`: one model as `torch.save` writes it in different ways, and the same tensors as safetensors.

    python tests/golden/pickles.py

Needs torch, transformers, safetensors. Beside `model.safetensors` there are
    zip.bin             the format since PyTorch 1.6
    legacy.bin          the one before it
    protocol-4.bin      the first with a later version of pickles
    parameters.bin      of parameters, in a plain dict
    nested.bin          as the `state_dict` of a training program's checkpoint
    views.bin           transposed matrices, parts of one storage, a scalar, an empty tensor, a table that is tied
    hostile.bin         a pickle that calls `os.system` when Python reads it without care
    hostile-legacy.bin  the same in the earlier format
and a folder `shards` with an index of two files, and `types.bin` with a tensor of each type, `types.safetensors` too.
"""

import collections
import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "pickles"


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/a-pickle-was-run",)


def whole(tensors):
    """Each on its own, as safetensors wants them."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "shards").mkdir(parents=True)
    torch.manual_seed(5)
    layer = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.LayerNorm(4))
    state = layer.state_dict()
    save_file(whole(state), FOLDER / "model.safetensors")
    torch.save(state, FOLDER / "zip.bin")
    torch.save(state, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(state, FOLDER / "protocol-4.bin", pickle_protocol=4)
    torch.save(dict(layer.named_parameters()), FOLDER / "parameters.bin")
    nested = {"epoch": 3, "loss": 0.5, "state_dict": state, "rates": [1e-4, 1e-5]}
    torch.save(nested, FOLDER / "nested.bin")

    base = torch.randn(5, 8)
    views = {
        "table": base,
        "tied": base,
        "transposed": base.t(),
        "transposed again": base.t(),
        "columns": base[:, 2:5],
        "row": base[3],
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "every other": torch.randn(10)[::2],
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "one": torch.randn(1, 3).expand(1, 3),
    }
    torch.save(collections.OrderedDict(views), FOLDER / "views.bin")
    torch.save(views, FOLDER / "views-legacy.bin", _use_new_zipfile_serialization=False)
    save_file(whole(views), FOLDER / "views.safetensors")

    kinds = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    types = {kind: (torch.arange(-3, 4) * 0.7).to(getattr(torch, kind)) for kind in kinds if kind != "uint8"}
    types["uint8"] = torch.arange(7, dtype=torch.uint8)
    torch.save(types, FOLDER / "types.bin")
    save_file(whole(types), FOLDER / "types.safetensors")

    names = list(state)
    index = {"metadata": {"total_size": 1}, "weight_map": {}}
    for number, part in enumerate([names[:2], names[2:]], 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: state[name] for name in part}, FOLDER / "shards" / file)
        index["weight_map"].update({name: file for name in part})
    (FOLDER / "shards/pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1))

    torch.save({"weight": torch.zeros(2), "and": Hostile()}, FOLDER / "hostile.bin")
    torch.save({"and": Hostile()}, FOLDER / "hostile-legacy.bin", _use_new_zipfile_serialization=False)
    # The whole module, as `torch.save(model)` does: its classes are code.
    torch.save(torch.nn.Linear(2, 2), FOLDER / "module.bin")


main()
