"""Writes `going_on.json`: the losses of models of `transformers` that go on learning to guess masked tokens, on the very
batches of `wgrad pretrain --from`.

    python tests/golden/going_on.py target/debug/wgrad

Needs torch, transformers, numpy and safetensors. Every model starts from its folder's weights, without dropout, with
PyTorch's own AdamW and clipping, in f64. `tests/going_on.rs` makes the same data with the same command lines and compares
the losses of its steps.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.numpy import load_file

HERE = Path(__file__).parent
FOLDERS = [HERE / "hugging_face"] + [
    HERE / "families" / name
    for name in (
        "bert_relu",
        "bert_gelu_new",
        "bert_heads_of_10",
        "roberta",
        "camembert",
        "distilbert",
        "electra",
    )
]


def text():
    """200 lines of words that follow from those before them."""
    lines = []
    for i in range(200):
        words = [5 + (i * i + 3 * j * (1 + i % 4)) % 40 for j in range(6 + i % 9)]
        lines.append(" ".join(f"w{word}" for word in words))
    return "\n".join(lines) + "\n"


def batches(wgrad, folder, place):
    """What a run of `wgrad pretrain --from` is fed: the same arguments as in `tests/going_on.rs`."""
    (place / "text.txt").write_text(text())
    prepare = ["data", "prepare", "text.txt", "--tokenizer", folder, "--seq-len", "20", "--out", "data"]
    subprocess.run([wgrad, *prepare], cwd=place, check=True, stdout=subprocess.DEVNULL)
    pretrain = ["pretrain", "--from", folder, "--data", "data", "--out", "out", "--steps", "50"]
    settings = ["batch_sequences=8", "micro_batch=4", "learning_rate=2e-3", "warmup_steps=5"]
    settings = [argument for setting in settings for argument in ("--set", setting)]
    dump = ["--dump-batches", "batches.safetensors", "--init-only"]
    subprocess.run([wgrad, *pretrain, *settings, *dump], cwd=place, check=True, stdout=subprocess.DEVNULL)
    return load_file(place / "batches.safetensors")


def losses(folder, arrays):
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager").double()
    # Without dropout.
    model.eval()
    named = [(name, weight) for name, weight in model.named_parameters()]
    groups = [
        {"params": [weight for _, weight in named if weight.dim() > 1], "weight_decay": 0.01},
        {"params": [weight for _, weight in named if weight.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    found = []
    for step, rate in enumerate(arrays["lr"]):
        ids = torch.from_numpy(arrays["input_ids"][step].astype("int64"))
        real = arrays["labels"][step] >= 0
        rows = torch.from_numpy(arrays["masked_rows"][step][real].astype("int64"))
        labels = torch.from_numpy(arrays["labels"][step][real].astype("int64"))
        # Every token that is none of the padding sees all of its sequence.
        mask = torch.from_numpy((arrays["bounds"][step][:, :, 1] > 0).astype("int64"))
        output = model(input_ids=ids, attention_mask=mask)
        logits = output.prediction_logits if "prediction_logits" in output else output.logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1)[rows], labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.step()
        found.append(round(loss.item(), 6))
    return found


def main():
    torch.set_num_threads(1)
    wgrad = str(Path(sys.argv[1]).resolve())
    golden = {}
    for folder in FOLDERS:
        with tempfile.TemporaryDirectory() as place:
            golden[folder.name] = losses(folder, batches(wgrad, folder, Path(place)))
        print(folder.name, golden[folder.name][0], golden[folder.name][-1])
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in golden.items())
    (HERE / "going_on.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
