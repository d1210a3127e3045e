"""Writes what `sentence-transformers` makes of the folder `sentence_transformers/` with other modules behind its encoder.

    python tests/golden/sentence_modules.py

Needs torch and sentence-transformers 6. It writes `sentence_modules.safetensors`: vectors [texts, C] of every eighth text of
`sentences.json`, by the names that tests/sentence_modules.rs gives them, and the weights of the layers.
"""

import json
import pathlib

import numpy
import torch
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

HERE = pathlib.Path(__file__).parent
PROMPT = "query: the old bridge "
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def encode(modules, texts, **how):
    model = SentenceTransformer(modules=modules, device="cpu")
    return model.encode(texts, batch_size=5, show_progress_bar=False, **how).astype(numpy.float32)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(7)
    texts = json.loads((HERE / "sentences.json").read_text())[::8]
    encoder = SentenceTransformer(str(HERE / "sentence_transformers"), device="cpu")[0]
    tensors = {}
    for mode in MODES:
        tensors[mode] = encode([encoder, Pooling(40, pooling_mode=mode)], texts)
        without = Pooling(40, pooling_mode=mode, include_prompt=False)
        tensors[f"{mode} without prompt"] = encode([encoder, without], texts, prompt=PROMPT)
    tensors["several"] = encode([encoder, Pooling(40, pooling_mode=["cls", "max", "weightedmean"])], texts)
    tensors["other order"] = encode([encoder, Pooling(40, pooling_mode=["lasttoken", "mean"])], texts)
    tensors["prompt"] = encode([encoder, Pooling(40)], texts, prompt=PROMPT)
    layers = {
        "tanh": Dense(40, 13, activation_function=torch.nn.Tanh()),
        "gelu": Dense(80, 24, bias=False, activation_function=torch.nn.GELU()),
        "identity": Dense(24, 40, activation_function=torch.nn.Identity()),
        "residual": Dense(40, 10, activation_function=torch.nn.ReLU(), use_residual=True),
    }
    for name, layer in layers.items():
        for parameter, value in layer.state_dict().items():
            if "weight" in parameter:
                value.mul_(3)
            tensors[f"layer {name} {parameter}"] = value.numpy().copy()
    mean = Pooling(40)
    tensors["dense"] = encode([encoder, mean, layers["tanh"], Normalize()], texts)
    both = Pooling(40, pooling_mode=["cls", "mean"])
    tensors["two layers"] = encode([encoder, both, layers["gelu"], Normalize(), layers["identity"]], texts)
    tensors["residual"] = encode([encoder, mean, Normalize(), layers["residual"]], texts)
    cut = encode([encoder, mean, Normalize()], texts, truncate_dim=11, normalize_embeddings=True)
    tensors["cut"] = cut
    save_file(tensors, HERE / "sentence_modules.safetensors")


if __name__ == "__main__":
    main()
