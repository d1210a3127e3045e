"""The work of `local-steps`, which says what it does."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from rows import Rows

wgrad, reviews = sys.argv[1:3]
steps, after, most = map(int, sys.argv[3:6])
root = pathlib.Path.cwd()
place = root / "runs/local-steps"
COLUMNS = ["sync", "steps", "exact first", "ranks", "outer lr", "outer momentum", "seconds", "held-out loss", "held-out accuracy"]
done = Rows(root / "docs/results/local-steps.tsv", COLUMNS)
RANKS = 4
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
# What DiLoCo found best, and the mean of all ranks' weights.
OUTER = [(0.7, 0.9), (1.0, 0.0)]
EXACT = {"exact": [], "exact, wire f16": ["--wire", "f16"]}


def prepare():
    """Tokenizer and data as `scripts/reviews-micro` makes them."""
    tokenizer, data = place / "tokenizer", place / "data"
    if not (tokenizer / "tokenizer.json").exists():
        make = [wgrad, "tokenizer", "train", reviews, "--vocab-size", "4096", "--out", tokenizer]
        subprocess.run(make, check=True, env=ENVIRONMENT)
    if not data.exists():
        make = [wgrad, "data", "prepare", reviews, "--tokenizer", tokenizer, "--join", "--seq-len", "64", "--held-out", "512"]
        subprocess.run([*make, "--out", data], check=True, env=ENVIRONMENT)
    return data


def train(data, more):
    recipe = ["--preset", "micro", "--steps", str(steps), "--set", "evaluate.every=0", "--set", "checkpoint.every=0"]
    with tempfile.TemporaryDirectory(dir=place) as out:
        command = ["mpirun", "--oversubscribe", "-n", str(RANKS), wgrad, "pretrain", *recipe, *more, "--data", data]
        ended = subprocess.run([*command, "--out", pathlib.Path(out) / "run", "--json"], env=ENVIRONMENT, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)
    return json.loads(ended.stdout)


def main():
    place.mkdir(parents=True, exist_ok=True)
    data = prepare()
    rows = [(name, 0, "-", "-") for name in EXACT]
    rows += [(every, exact, *outer) for every in [10, 50, 25, 5] for outer in OUTER for exact in [0, after]]
    left = [row for row in rows if tuple(map(str, (row[0], steps, row[1], RANKS, *row[2:]))) not in done.known(6)]
    for every, exact, rate, momentum in left[:most]:
        more = EXACT.get(every, ["--sync", f"every={every},after={exact},lr={rate},momentum={momentum}"])
        began = time.monotonic()
        found = train(data, more)
        loss, accuracy = round(found["held_out_loss"], 4), round(found["held_out_accuracy"], 4)
        done.note(every, steps, exact, RANKS, rate, momentum, round(time.monotonic() - began), loss, accuracy)


if __name__ == "__main__":
    main()
