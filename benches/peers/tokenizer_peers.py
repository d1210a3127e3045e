"""What `scripts/tokenizer-peers` runs: see there. Prints a row of tab-separated values for each run."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from measured import measured
from tokenizers import AddedToken, Tokenizer, models, trainers

VOCABULARY = 32768


def texts(folder, reviews, synthetic, megabytes):
    """Two texts of a size: film reviews over and over, and one of words that hardly anybody uses twice."""
    size = megabytes * 1_000_000
    made = {}
    if reviews.exists():
        made["reviews"] = folder / "reviews.txt"
        if not made["reviews"].exists():
            with open(reviews, newline="") as source:
                lines = [" ".join(row["text"].split()) for row in csv.DictReader(source)]
            once = ("\n".join(lines) + "\n").encode()
            made["reviews"].write_bytes((once * (size // len(once) + 1))[:size].rpartition(b"\n")[0] + b"\n")
    if synthetic is not None:
        made["synthetic"] = folder / "synthetic.txt"
        if not made["synthetic"].exists():
            with open(synthetic, "rb") as source:
                # The end of the file is like any text; its beginning has every word once.
                source.seek(-size, os.SEEK_END)
                source.readline()
                made["synthetic"].write_bytes(source.read())
    return made


def train(text, like, out):
    """Learns a vocabulary as `wgrad tokenizer train` does, with the steps of the tokenizer `like`."""
    file = json.loads(Path(like).read_text())
    specials = [token["content"] for token in file["added_tokens"]]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
    known = Tokenizer.from_file(like)
    tokenizer.normalizer, tokenizer.pre_tokenizer = known.normalizer, known.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(token, special=True) for token in specials],
        continuing_subword_prefix="##",
    )
    tokenizer.train([text], trainer)
    tokenizer.save(out)


def encode(text, tokenizer, out):
    """The ids of all lines, one after the other, into a file; lines go to the tokenizer in batches of some megabytes."""
    tokenizer = Tokenizer.from_file(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with open(text, newline="\n") as source, open(out, "wb") as sink:
        while batch := source.readlines(4 << 20):
            for encoding in tokenizer.encode_batch([line.rstrip() for line in batch], add_special_tokens=False):
                np.array(encoding.ids, dtype=np.uint16).tofile(sink)


def compare(folder, ids):
    """How many tokens the shards of a folder hold that are those of `ids`, from its beginning; all but a short tail."""
    file = json.loads((folder / "tokenizer.json").read_text())
    outer = [token["id"] for token in file["added_tokens"] if token["content"] in ("[CLS]", "[SEP]")]
    made = np.concatenate([np.fromfile(path, dtype=np.uint16) for path in sorted(folder.glob("train-*.bin"))])
    made = made[~np.isin(made, outer)]
    expected = np.fromfile(ids, dtype=np.uint16)
    if not 0 <= len(expected) - len(made) < 8 or not np.array_equal(made, expected[: len(made)]):
        sys.exit(f"{folder}: {len(made)} tokens, other than Python's {len(expected)}")
    return len(made)


def main():
    if sys.argv[1] == "train":
        return train(*sys.argv[2:])
    if sys.argv[1] == "encode":
        return encode(*sys.argv[2:])
    wgrad, folder, reviews, runs, megabytes = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    synthetic = Path(sys.argv[6]) if len(sys.argv) > 6 else None
    folder.mkdir(parents=True, exist_ok=True)
    python = [sys.executable, __file__]
    # On a machine that is busy with other work the processor's seconds say more than the clock's.
    print("text\twhat\trun\twgrad s\tPython s\tratio\twgrad CPU s\tPython CPU s\twgrad MB\tPython MB", flush=True)
    for name, text in texts(folder, reviews, synthetic, megabytes).items():
        place = lambda part: str(folder / f"{name}-{part}")
        for what in ("train", "encode"):
            ratios = []
            for run in range(runs):
                subprocess.run(["rm", "-rf", place("data")], check=True)
                if what == "train":
                    ours = [wgrad, "tokenizer", "train", str(text), "--vocab-size", str(VOCABULARY), "--out", place("tok")]
                    theirs = [*python, "train", str(text), place("tok") + "/tokenizer.json", place("python.json")]
                else:
                    ours = [wgrad, "data", "prepare", str(text), "--tokenizer", place("tok"), "--join", "--held-out", "0"]
                    ours += ["--out", place("data")]
                    theirs = [*python, "encode", str(text), place("tok") + "/tokenizer.json", place("ids")]
                own, own_cpu, own_memory = measured(ours)
                other, other_cpu, other_memory = measured(theirs)
                ratios.append(other / own)
                row = [name, what, run, f"{own:.1f}", f"{other:.1f}", f"{other / own:.2f}"]
                row += [f"{own_cpu:.1f}", f"{other_cpu:.1f}", f"{own_memory:.0f}", f"{other_memory:.0f}"]
                print(*row, sep="\t", flush=True)
            if what == "encode":
                print(f"{name}\tsame ids\t{compare(Path(place('data')), place('ids'))}", flush=True)
            print(f"{name}\t{what}\tmedian ratio\t{sorted(ratios)[len(ratios) // 2]:.2f}", flush=True)


if __name__ == "__main__":
    main()
