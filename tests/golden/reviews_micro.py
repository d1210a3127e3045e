"""Trains the program's own batches in PyTorch, to hold its losses against.

    wgrad pretrain … --dump-batches batches.safetensors
    python tests/golden/reviews_micro.py --batches batches.safetensors --weights DIR/model.safetensors

Same tokens, masks, learning rates and initial weights, so the two losses should agree to within
0.05 nats at the end. Needs torch, numpy and safetensors. Runs in f32 on the CPU.

The batches file holds, for S steps of B sequences of T tokens with at most M masked rows,
    input_ids [S, B, T], bounds [S, B, T, 2]      integers; a token sees the keys in [start, end)
    masked_rows [S, M], labels [S, M]             row b·T + t and the token to predict; -1 fills up
    lr [S]                                        learning rate of each step
    held_out/input_ids, …/bounds, …/masked_rows, …/labels      the same for batches held out
The configuration is `config.json` beside the weights, unless --config names another.
"""

import argparse
import csv
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from reference_bert import AdamW, Bert, Config, parameter_shapes


class Batches:
    """The batches of one prefix of the file; batch i is (input_ids, bounds, masked_rows, labels)."""

    def __init__(self, arrays, prefix=""):
        self.input_ids = arrays[f"{prefix}input_ids"]
        self.bounds = arrays[f"{prefix}bounds"]
        self.masked_rows = arrays[f"{prefix}masked_rows"].astype(np.int64)
        self.labels = arrays[f"{prefix}labels"].astype(np.int64)
        steps, batch, tokens = self.input_ids.shape
        self._check(prefix, "bounds", self.bounds.shape, (steps, batch, tokens, 2))
        self._check(prefix, "labels", self.labels.shape, self.masked_rows.shape)
        self._check(prefix, "masked_rows", self.masked_rows.shape[:1], (steps,))
        if ((self.masked_rows < 0) != (self.labels < 0)).any():
            sys.exit(f"{prefix}masked_rows and {prefix}labels are filled up in different places")
        if self.masked_rows.max() >= batch * tokens:
            sys.exit(f"{prefix}masked_rows: expected rows below {batch * tokens}")

    @staticmethod
    def _check(prefix, name, got, expected):
        if tuple(got) != tuple(expected):
            sys.exit(f"{prefix}{name}: expected shape {tuple(expected)}, got {tuple(got)}")

    def __len__(self):
        return len(self.input_ids)

    def __getitem__(self, step):
        real = self.masked_rows[step] >= 0
        arrays = (
            self.input_ids[step],
            self.bounds[step],
            self.masked_rows[step][real],
            self.labels[step][real],
        )
        return tuple(torch.from_numpy(array.astype(np.int64)) for array in arrays)

    def token_counts(self, vocabulary):
        """[V] how often each token stands in the text, as it was before masking.

        Only tokens that are ever predicted count, which leaves the special ones out.
        """
        ids = self.input_ids.reshape(len(self), -1).astype(np.int64)
        step, column = np.nonzero(self.masked_rows >= 0)
        ids[step, self.masked_rows[step, column]] = self.labels[step, column]
        counts = np.bincount(ids.ravel(), minlength=vocabulary).astype(np.float64)
        predicted = np.bincount(self.labels[self.labels >= 0], minlength=vocabulary) > 0
        return counts * predicted


def unigram_entropy(counts):
    """Entropy in nats of the distribution that `counts` [V] describes."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def unigram_cross_entropy(counts, labels):
    """Mean loss in nats of predicting `labels` by how often tokens occur (one is added to each count)."""
    p = (counts + 1) / (counts + 1).sum()
    return float(-np.log(p[labels]).mean())


@torch.no_grad()
def held_out_loss(model, batches):
    """Mean cross entropy in nats over every masked row of every batch."""
    total, rows = 0.0, 0
    for index in range(len(batches)):
        input_ids, bounds, masked_rows, labels = batches[index]
        _, final = model.hidden_states(input_ids, bounds)
        logits = model.logits(final, masked_rows)
        total += functional.cross_entropy(logits, labels, reduction="sum").item()
        rows += len(labels)
    return total / rows


def read_weights(path, config):
    """The model's parameters in f32, without whatever else the file holds."""
    tensors = load_tensors(path)
    expected = parameter_shapes(config)
    missing = sorted(set(expected) - set(tensors))
    if missing:
        sys.exit(f"{path}: missing tensors {missing}")
    extra = sorted(set(tensors) - set(expected))
    if extra:
        print(f"{path}: ignored tensors {extra}", file=sys.stderr)
    return {name: tensors[name].float() for name in expected}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="initial model.safetensors")
    parser.add_argument("--config", type=Path, help="default: config.json beside the weights")
    parser.add_argument("--csv", type=Path, default=Path("reviews_micro.csv"))
    parser.add_argument("--evaluate-every", type=int, default=300, metavar="STEPS")
    parser.add_argument("--steps", type=int, help="stop early")
    # On cores that other programs use as well, two threads wait for each other and are far slower.
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    config_path = arguments.config or arguments.weights.with_name("config.json")
    config = Config.from_json(config_path.read_text())
    model = Bert(config, read_weights(arguments.weights, config))
    arrays = load_arrays(arguments.batches)
    train, held_out = Batches(arrays), Batches(arrays, "held_out/")
    rates = arrays["lr"].astype(np.float64)
    if len(rates) != len(train):
        sys.exit(f"lr: expected {len(train)} rates, got {len(rates)}")
    steps = min(len(train), arguments.steps or len(train))

    counts = train.token_counts(config.vocab_size)
    labels = held_out.labels[held_out.labels >= 0]
    print(f"unigram entropy {unigram_entropy(counts):.4f} nats (of the training text)")
    print(f"unigram held-out loss {unigram_cross_entropy(counts, labels):.4f} nats")
    print(f"step 0: held-out loss {held_out_loss(model, held_out):.4f} nats", flush=True)

    optimizer = AdamW(model.weights, betas=(0.9, 0.98), eps=1e-12, decay=0.01, clip=0.5)
    seconds = 0.0
    with open(arguments.csv, "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(("step", "lr", "loss", "gradient_norm", "held_out_loss"))
        for step in range(steps):
            start = time.perf_counter()
            loss = model.loss(*train[step])
            loss.backward()
            norm = optimizer.step(float(rates[step]))
            seconds += time.perf_counter() - start
            if not math.isfinite(loss.item()):
                sys.exit(f"step {step + 1}: the loss is {loss.item()}")
            evaluated = ""
            if (step + 1) % arguments.evaluate_every == 0 or step + 1 == steps:
                evaluated = f"{held_out_loss(model, held_out):.6f}"
                print(
                    f"step {step + 1}: loss {loss.item():.4f}, held-out loss {evaluated} nats, "
                    f"{seconds / (step + 1):.3f} s/step",
                    flush=True,
                )
            log.writerow(
                (step + 1, f"{rates[step]:.9g}", f"{loss.item():.6f}", f"{norm.item():.6f}", evaluated)
            )
    print(f"held-out loss {evaluated} nats, unigram entropy {unigram_entropy(counts):.4f} nats")


if __name__ == "__main__":
    main()
