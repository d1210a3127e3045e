"""Opens model folders that `wgrad` saved in `transformers` and compares their numbers with its own.

    python tests/golden/open_in_transformers.py wgrad FOLDER...

`wgrad` is the program. For each folder the script guesses the masks of some texts with `AutoModelForMaskedLM`
(`trust_remote_code`, which the relative architecture needs) and compares every probability with `wgrad fill-mask`.
Needs torch and transformers.
"""

import json
import subprocess
import sys

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

TEXTS = [
    "the [MASK] was [MASK] .",
    "this film is [MASK] and i liked it",
    "[MASK]",
    "w7 [MASK] w9 w10",
]
TOP = 20


def compare(program, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model, info = AutoModelForMaskedLM.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    for key in ("missing_keys", "mismatched_keys"):
        assert not info[key], f"{key}: {info[key]}"
    model.eval()
    worst = 0.0
    for text in TEXTS:
        command = [program, "fill-mask", "--model", folder, "--top-k", str(TOP), "--json", text]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        batch = tokenizer(text, return_tensors="pt")
        assert batch["input_ids"].shape[1] == answer["tokens"], f"{text!r}: other tokens"
        with torch.no_grad():
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0]
        for mask in answer["masks"]:
            exact = logits[mask["position"]].double().softmax(-1)
            for candidate in mask["candidates"]:
                difference = abs(exact[candidate["id"]].item() - candidate["probability"])
                worst = max(worst, difference / exact[candidate["id"]].item())
    return type(model).__name__, info["unexpected_keys"], worst


def main():
    program, folders = sys.argv[1], sys.argv[2:]
    failed = False
    for folder in folders:
        name, unexpected, worst = compare(program, folder)
        print(f"{folder}: {name}, left over {sorted(unexpected)}, largest relative difference {worst:.1e}")
        failed |= not worst <= 1e-3
    sys.exit(failed)


if __name__ == "__main__":
    main()
