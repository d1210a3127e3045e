"""Sentences per second of one model on one machine: wgrad, sentence-transformers on the CPU, candle on the CPU.

    python benches/peers/embed.py --wgrad target/release/wgrad --model data/minilm --texts reviews.csv \
        --candle benches/peers/candle/target/release/candle-embed

All embed the same texts, one after the other, in the order wgrad, PyTorch, candle, three times; the median of each
counts. Loading is left out: of wgrad's command, by subtracting the time that a tenth of the texts take and scaling up.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import tempfile
import time


def texts_of(path, count):
    with open(path, newline="") as file:
        rows = [row["text"] for row in csv.DictReader(file)]
    step = max(1, len(rows) // count)
    # One line each; films are reviewed at length, so only the first sentences.
    return [" ".join(text.split())[:200] for text in rows[::step][:count]]


def seconds(command, stdin):
    began = time.perf_counter()
    with open(stdin) as file:
        subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wgrad", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True, help="a CSV with a column text")
    parser.add_argument("--candle")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--precision", default="f32")
    options = parser.parse_args()

    from sentence_transformers import SentenceTransformer
    import torch

    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    peers = {name: SentenceTransformer(options.model, device=name) for name in devices}
    texts = texts_of(options.texts, options.count)
    few = texts[:: 10]
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        all_file, few_file = pathlib.Path(folder, "all.txt"), pathlib.Path(folder, "few.txt")
        all_file.write_text("\n".join(texts) + "\n")
        few_file.write_text("\n".join(few) + "\n")
        ours = [options.wgrad, "embed", "--model", options.model, "--precision", options.precision]
        for _ in range(3):
            whole, part = seconds(ours, all_file), seconds(ours, few_file)
            times.setdefault("wgrad", []).append((whole - part) / (1 - len(few) / len(texts)))
            for name, peer in peers.items():
                began = time.perf_counter()
                peer.encode(texts, batch_size=32, normalize_embeddings=True)
                times.setdefault(f"sentence-transformers, {name}", []).append(time.perf_counter() - began)
            if options.candle:
                with open(all_file) as file:
                    out = subprocess.run([options.candle, options.model], stdin=file, capture_output=True, check=True)
                times.setdefault("candle, cpu", []).append(float(out.stdout))
    rates = {name: len(texts) / statistics.median(all_times) for name, all_times in times.items()}
    print(json.dumps({
        "texts": len(texts),
        "sentences_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "wgrad_over": {name: round(rates["wgrad"] / rate, 3) for name, rate in rates.items() if name != "wgrad"},
    }, indent=2))


if __name__ == "__main__":
    main()
