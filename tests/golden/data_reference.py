"""The shuffle, the masks and the shards of `wgrad`'s data, in numpy; for reference trainings in other frameworks.

    python tests/golden/data_reference.py      # writes tests/golden/masks.json, which tests/data compares with

`Data(folder).batch(start, count, seed)` gives the arrays of `Batcher::train(start..start + count)`.
"""

import json
from pathlib import Path

import numpy as np

U = np.uint64
PAD, UNK, CLS, SEP, MASK = range(5)  # as in every tokenizer trained by wgrad
HELD_OUT_SEED = 0x68656C642D6F75


def mix(x):
    with np.errstate(over="ignore"):
        x = np.asarray(x, U) + U(0x9E3779B97F4A7C15)
        x = (x ^ (x >> U(30))) * U(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> U(27))) * U(0x94D049BB133111EB)
        return x ^ (x >> U(31))


def mask(tokens, seed, epoch, sequence, vocab_size, rate=0.15, share=0.8, random=0.1):
    """Token objective: what the model is shown, the positions to guess, and the tokens that were there."""
    key = mix(mix(mix(U(seed)) ^ U(epoch)) ^ U(sequence))
    draw = lambda purpose, positions: mix(key ^ U(purpose << 56) ^ positions.astype(U))
    maskable = np.flatnonzero(tokens > MASK)
    count = int(np.ceil(rate * len(maskable) - 1e-9))
    chosen = np.sort(maskable[np.argsort(draw(1, maskable), kind="stable")[:count]])
    unit = (draw(2, chosen) >> U(11)).astype(np.float64) / 2.0**53
    other = 5 + ((draw(3, chosen) >> U(32)) * U(vocab_size - 5) >> U(32)).astype(np.int64)
    shown = tokens.astype(np.int64)
    shown[chosen] = np.where(unit < share, MASK, np.where(unit < share + random, other, tokens[chosen]))
    return shown, chosen, tokens[chosen].astype(np.int64)


def order(n, seed, epoch, i):
    """Where index i of 0..n goes."""
    half = max((int(n - 1).bit_length() + 1) // 2, 1)
    key, low = mix(mix(mix(U(seed)) ^ U(0x6F72646572)) ^ U(epoch)), U((1 << half) - 1)
    x = U(i % n)
    while True:
        left, right = x >> U(half), x & low
        for r in range(6):
            left, right = right, left ^ (mix(key ^ U(r << 56) ^ right) & low)
        x = (left << U(half)) | right
        if x < n:
            return int(x)


class Data:
    """A folder made by `wgrad data prepare`."""

    def __init__(self, folder, part="train"):
        folder = Path(folder)
        info = json.loads((folder / "dataset.json").read_text())
        self.seq_len, self.vocab_size = info["seq_len"], info["vocab_size"]
        self.sequences = []
        for shard in info[part.replace("-", "_")]["shards"]:
            tokens = np.memmap(folder / f"{shard['name']}.bin", f"<u{info['token_bytes']}", "r")
            ends = np.fromfile(folder / f"{shard['name']}.idx", "<u8").astype(np.int64)
            self.sequences += [tokens[a:b] for a, b in zip(ends, ends[1:])]

    def batch(self, start, count, seed):
        """(count, T) ids shown, (count, T) labels with -100 where there is nothing to guess, lengths."""
        n = len(self.sequences)
        ids, labels = np.full((count, self.seq_len), PAD), np.full((count, self.seq_len), -100)
        lengths = np.zeros(count, np.int64)
        for row, number in enumerate(range(start, start + count)):
            epoch = number // n
            index = order(n, seed, epoch, number % n)
            tokens = self.sequences[index]
            shown, positions, hidden = mask(tokens, seed, epoch, index, self.vocab_size)
            ids[row, : len(shown)], labels[row, positions], lengths[row] = shown, hidden, len(shown)
        return ids, labels, lengths


def main():
    cases = []
    for number in range(20):
        seed, epoch, sequence = number * 1_000_003, number % 3, number * 7919
        body = mix(np.arange(number * 7, dtype=U) + U(number << 20)) % U(1000 - 5) + U(5)
        tokens = np.concatenate([[CLS], body.astype(np.int64), [SEP]]).astype(np.int64)
        shown, positions, labels = mask(tokens, seed, epoch, sequence, 1000)
        case = dict(seed=seed, epoch=epoch, sequence=sequence, tokens=tokens.tolist(), input_ids=shown.tolist())
        cases.append(case | dict(positions=positions.tolist(), labels=labels.tolist()))
    orders = []
    for n in [1, 2, 3, 7, 64, 65, 1000, 147_918, 1 << 40]:
        where = [order(n, 5, 2, i) for i in range(min(n, 20))]
        orders.append(dict(n=n, seed=5, epoch=2, at=where))
    path = Path(__file__).with_name("masks.json")
    path.write_text(json.dumps(dict(vocab_size=1000, masks=cases, orders=orders)) + "\n")


if __name__ == "__main__":
    main()
