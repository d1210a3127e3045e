"""What `scripts/long/big-corpus` runs: see there. Prints a row of tab-separated values for each command."""

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benches/peers"))
from measured import measured

WORDS = 5_000_000
SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]  # 90


def word(number):
    """A word for each number: the commonest are the shortest."""
    letters = []
    while True:
        number, syllable = divmod(number, len(SYLLABLES))
        letters.append(SYLLABLES[syllable])
        if number == 0:
            return "".join(letters)
        number -= 1


def generate(path, megabytes):
    """Lines of words, in parts that are the same whatever was there before; the first part has every word once."""
    part_bytes = 50_000_000
    parts = -(-megabytes * 1_000_000 // part_bytes)
    done = path.stat().st_size if path.exists() else 0
    marks = path.with_suffix(".marks")
    ends = [int(line) for line in marks.read_text().split()] if marks.exists() else []
    # A part that was cut off is written again.
    ends = [end for end in ends if end <= done]
    if len(ends) >= parts:
        return
    words = np.array([word(number) for number in range(WORDS)], dtype=object)
    with open(path, "r+b" if path.exists() else "w+b") as out:
        out.truncate(ends[-1] if ends else 0)
        out.seek(0, os.SEEK_END)
        for part in range(len(ends), parts):
            draw = np.random.default_rng(part)
            if part == 0:
                numbers = draw.permutation(WORDS)
            else:
                # Word n occurs about as often as 1 / (n + 3): Zipf's law with an offset.
                numbers = np.exp(draw.random(9_000_000) * np.log((WORDS + 3) / 3)) * 3 - 3
                numbers = np.minimum(numbers.astype(np.int64), WORDS - 1)
            text = words[numbers]
            lines = [" ".join(text[at : at + 40]) for at in range(0, len(text), 40)]
            data = ("\n".join(lines) + "\n").encode()
            if part > 0:
                data = data[: data.rfind(b"\n", 0, part_bytes) + 1]
            out.write(data)
            out.flush()
            ends.append(out.tell())
            marks.write_text("\n".join(map(str, ends)) + "\n")


def main():
    wgrad, megabytes, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    generate(text, megabytes)
    rows = folder / "rows.tsv"
    finished = rows.read_text().splitlines() if rows.exists() else []

    def measure(name, size, command, done):
        known = [row for row in finished if row.startswith(f"{name}\t{size}\t")]
        if known and done.exists():
            row = known[0]
        else:
            seconds, _, memory = measured([wgrad, *command], folder, sys.stderr)
            row = f"{name}\t{size}\t{seconds:.0f}\t{memory:.0f}"
            with open(rows, "a") as out:
                out.write(row + "\n")
        print(row, flush=True)

    print("command\tMB of text\tseconds\tMB of memory at most")
    size = round(text.stat().st_size / 1e6)
    train = ["tokenizer", "train", text.name, "--vocab-size", "32768", "--out", "tok"]
    measure("tokenizer train", size, train, folder / "tok/tokenizer.json")
    # The first part holds every word once, which no text of that size does.
    with open(text, "rb") as source:
        source.seek(int(text.with_suffix(".marks").read_text().split()[0]))
        for size in (73, 730):
            name = f"text-{size}.txt"
            place = source.tell()
            if not (folder / name).exists():
                left = size * 1_000_000
                with open(folder / f"{name}.part", "wb") as out:
                    while left > 0 and (data := source.read(min(left, 1 << 24))):
                        out.write(data)
                        left -= len(data)
                os.rename(folder / f"{name}.part", folder / name)
            source.seek(place)
            out = f"data-{size}"
            prepare = ["data", "prepare", name, "--tokenizer", "tok", "--pack", "--out", out]
            measure("data prepare", size, prepare, folder / out)
    size = round(text.stat().st_size / 1e6)
    prepare = ["data", "prepare", text.name, "--tokenizer", "tok", "--pack", "--out", "data"]
    measure("data prepare", size, prepare, folder / "data")


if __name__ == "__main__":
    main()
