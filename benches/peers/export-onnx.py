"""Writes all-MiniLM-L6-v2 as ONNX for transformers.js: the encoder's last hidden states, dynamic sizes.

    python benches/peers/export-onnx.py data/minilm data/minilm-onnx

Needs torch, transformers and onnx.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModel

source, target = map(Path, sys.argv[1:])
(target / "onnx").mkdir(parents=True, exist_ok=True)
for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
    shutil.copy(source / name, target / name)


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = AutoModel.from_pretrained(source, attn_implementation="eager").eval()

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids, attention_mask, token_type_ids).last_hidden_state


names = ["input_ids", "attention_mask", "token_type_ids"]
inputs = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
axes = {name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]}
torch.onnx.export(
    Encoder(),
    inputs,
    str(target / "onnx" / "model.onnx"),
    input_names=names,
    output_names=["last_hidden_state"],
    dynamic_axes=axes,
    opset_version=17,
    dynamo=False,
)
