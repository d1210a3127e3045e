"""Opens model folders that `wgrad` saved in `transformers` and compares their numbers with its own.

    python tests/golden/open_in_transformers.py wgrad FOLDER...

`wgrad` is the program. For each folder the script guesses the masks of some texts with `AutoModelForMaskedLM`
(`trust_remote_code`, which the relative architecture needs) and compares every probability with `wgrad fill-mask`;
of a finetuned one it labels texts and pairs with `AutoModelForSequenceClassification`, or finds entities with
`AutoModelForTokenClassification` in a pipeline, and compares with `wgrad predict`. Needs torch and transformers.
"""

import json
import subprocess
import sys

import torch
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

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
    for text in (text.replace("[MASK]", tokenizer.mask_token) for text in TEXTS):
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


def compare_classifier(program, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    for key in ("missing_keys", "mismatched_keys"):
        assert not info[key], f"{key}: {info[key]}"
    model.eval()
    worst = 0.0
    plain = [text.replace("[MASK]", "a") for text in TEXTS]
    pairs = [(text, None) for text in plain] + [(a, b) for a in plain for b in plain[:2]]
    lines = "\n".join(a if b is None else f"{a}\t{b}" for a, b in pairs)
    command = [program, "predict", "--model", folder, "--json"]
    answers = subprocess.run(command, input=lines.encode(), check=True, capture_output=True).stdout
    for (a, b), line in zip(pairs, answers.decode().splitlines(), strict=True):
        answer = json.loads(line)
        batch = tokenizer(a, b, return_tensors="pt", truncation=True)
        with torch.no_grad():
            logits = model(**batch).logits[0].double()
        if model.config.problem_type == "multi_label_classification":
            for id, exact in enumerate(logits.sigmoid().tolist()):
                worst = max(worst, abs(exact - answer["probabilities"][model.config.id2label[id]]) / exact)
            continue
        if len(logits) == 1:
            worst = max(worst, abs(logits.item() - answer["score"]) / max(1, abs(logits.item())))
            continue
        for id, exact in enumerate(logits.softmax(-1).tolist()):
            difference = abs(exact - answer["probabilities"][model.config.id2label[id]])
            worst = max(worst, difference / exact)
    return type(model).__name__, info["unexpected_keys"], worst


def compare_tagger(program, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model, info = AutoModelForTokenClassification.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    for key in ("missing_keys", "mismatched_keys"):
        assert not info[key], f"{key}: {info[key]}"
    find = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first")
    plain = [text.replace("[MASK]", "a") for text in TEXTS]
    command = [program, "predict", "--model", folder, "--json", "--precision", "f32"]
    answers = subprocess.run(command, input="\n".join(plain).encode(), check=True, capture_output=True).stdout
    worst = 0.0
    for text, line in zip(plain, answers.decode().splitlines(), strict=True):
        found, expected = json.loads(line)["entities"], find(text)
        places = lambda spans, label: [(span[label], span["start"], span["end"]) for span in spans]
        assert places(found, "label") == places(expected, "entity_group"), f"{text}: {found}, {expected}"
        for span, exact in zip(found, expected):
            worst = max(worst, abs(span["score"] - exact["score"]) / exact["score"])
    return type(model).__name__, info["unexpected_keys"], worst


def main():
    program, folders = sys.argv[1], sys.argv[2:]
    failed = False
    for folder in folders:
        architecture = AutoConfig.from_pretrained(folder, trust_remote_code=True).architectures[0]
        heads = {"ForSequenceClassification": compare_classifier, "ForTokenClassification": compare_tagger}
        fitting = [check for head, check in heads.items() if architecture.endswith(head)]
        name, unexpected, worst = (fitting or [compare])[0](program, folder)
        print(f"{folder}: {name}, left over {sorted(unexpected)}, largest relative difference {worst:.1e}")
        failed |= not worst <= 1e-3
    sys.exit(failed)


if __name__ == "__main__":
    main()
