"""What `scripts/long/kills` runs: see there."""

import csv
import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    f"pt/train-{number:05}-of-00003.parquet": random.Random(number).randbytes(6 << 20) for number in range(3)
}


class Hub(http.server.BaseHTTPRequestHandler):
    """A data set of three files, sent slowly enough to be interrupted."""

    def do_GET(self):
        if self.path.startswith("/api/datasets/some/set/revision/"):
            siblings = [
                {"rfilename": name, "size": len(data), "blobId": "0" * 40, "lfs": {"sha256": sha256(data), "size": len(data)}}
                for name, data in FILES.items()
            ]
            return self.answer(200, json.dumps({"sha": COMMIT, "siblings": siblings}).encode())
        data = FILES.get(self.path.removeprefix(f"/datasets/some/set/resolve/{COMMIT}/"))
        if data is None:
            return self.answer(404, b"")
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self.answer(206 if start else 200, data[start:], headers)

    def answer(self, status, body, headers={}):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        try:
            for at in range(0, len(body), 1 << 16):
                self.wfile.write(body[at : at + (1 << 16)])
                time.sleep(0.0005)
        except OSError:
            pass

    def log_message(self, *_):
        pass


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def contents(folder):
    """Everything below a folder, hidden files too."""
    return {str(path.relative_to(folder)): sha256(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


# What bears the folder's name, or the checksums of what depends on the clock.
PASSING = ("lock", "README.md", "checksums.json")
TIMED = ("seconds", "tokens_per_second")


def lasting(folder):
    """What a run left, without what depends on the clock."""
    found = contents(folder)
    for path in list(found):
        name = path.rpartition("/")[2]
        if name in PASSING:
            del found[path]
        elif name == "metrics.csv":
            rows = list(csv.DictReader((folder / path).open()))
            found[path] = [untimed(row) for row in rows]
        elif name == "metrics.jsonl":
            found[path] = [json.loads(line, object_hook=untimed) for line in (folder / path).read_text().splitlines()]
        elif name == "state.json":
            found[path] = json.loads((folder / path).read_text(), object_hook=untimed)
    return found


def untimed(pairs):
    return {key: value for key, value in pairs.items() if key not in TIMED}


def main():
    wgrad, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    golden = Path.cwd() / "tests/golden"
    draw = random.Random(seed)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        words = [f"w{draw.getrandbits(14):x}" for _ in range(4000)]
        lines = [" ".join(draw.choices(words, k=12)) for _ in range(300_000)]
        (place / "text.txt").write_text("\n".join(lines) + "\n")
        (place / "few.txt").write_text("\n".join(lines[:3000]) + "\n")
        rows = "".join(f"{line},{number % 2}\n" for number, line in enumerate(lines[:120]))
        (place / "rows.csv").write_text("text,label\n" + rows)
        environment = dict(os.environ, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HOME=str(place), NO_PROXY="*")
        tokenizer = ["tokenizer", "train", "text.txt", "--vocab-size", "700", "--out"]
        commands = {
            "tokenizer train": tokenizer,
            "data prepare": [
                *["data", "prepare", "text.txt", "--tokenizer", "tok", "--seq-len", "32", "--pack"],
                *["--held-out", "100", "--save-every", "0", "--out"],
            ],
            "data fetch": ["data", "fetch", "hf:some/set", "--config", "pt", "--out"],
            "embed": ["embed", "--model", str(golden / "sentence_transformers"), "--input", "few.txt", "--output"],
            "finetune": [
                *["finetune", "--task", "classify", "--model", str(golden / "families/distilbert_classes")],
                *["--train", "rows.csv", "--eval", "rows.csv", "--epochs", "20", "--max-length", "16", "--out"],
            ],
        }
        chosen = sys.argv[4].split(",") if len(sys.argv) > 4 else list(commands)
        if unknown := set(chosen) - set(commands):
            sys.exit(f"expected some of {', '.join(commands)}, found {', '.join(unknown)}")
        if "data prepare" in chosen:
            subprocess.run([wgrad, *tokenizer, "tok"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        given = {path.name for path in place.iterdir()}
        all_wrong = 0
        print("command\tkills\tof these before it was over\tgone on with\twrong\tseconds without a kill")
        for name in chosen:
            out = lambda kind: f"{kind}/out.npy" if name == "embed" else kind
            run = lambda kind, *more: subprocess.Popen(
                [wgrad, *commands[name], out(kind), *more],
                cwd=place,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            look = lasting if name == "finetune" else contents
            if name == "embed":
                (place / "right").mkdir()
            # The first run makes what a driver keeps of its kernels, so that only the second one's time is the command's.
            for _ in range(2):
                subprocess.run(["rm", "-rf", *([] if name == "embed" else ["right"])], cwd=place, check=True)
                clock = time.monotonic()
                _, said = (process := run("right")).communicate()
                if process.returncode:
                    sys.exit(f"{name}: {said.decode()}")
                seconds = time.monotonic() - clock
            right = look(place / "right")
            killed = gone_on = wrong = 0
            for number in range(kills):
                if name == "embed":
                    (place / "out").mkdir()
                process = run("out")
                time.sleep(draw.uniform(0, seconds))
                process.kill()
                process.communicate()
                ended = process.returncode == 0
                killed += process.returncode == -9
                problems = [] if process.returncode in (0, -9) else [f"ended by itself with {process.returncode}"]
                left = (place / "out").exists()
                if name == "finetune":
                    # A run writes into its folder as it goes, which is whole when it has said so.
                    if ended and look(place / "out") != right:
                        problems.append("ended well with other bits")
                else:
                    half = contents(place / "out") if left else {}
                    # A lock says who works in the folder; that it does not stay is seen at the end.
                    named = {path for path in half if path != "lock" and not path.rpartition("/")[2].startswith(".")}
                    problems += [path for path in named if half[path] != right.get(path)]
                if not left or look(place / "out") != right:
                    # What was not killed in time is finished; a folder of shards is not made twice. A run that was killed
                    # before it had a folder to go on with begins.
                    resumed = name == "finetune" and (place / "out/finetune.json").exists()
                    process = run("out", *(["--resume"] if resumed else []))
                    said = process.communicate()[1]
                    gone_on += resumed or b"goes on from" in said
                    # What was killed when all was done says that there is nothing to go on with.
                    if process.returncode != 0 and not (b"one that is done" in said and look(place / "out") == right):
                        problems.append(said.decode().strip())
                if not (place / "out").exists() or look(place / "out") != right:
                    found = look(place / "out") if (place / "out").exists() else {}
                    other = sorted(path for path in found.keys() | right.keys() if found.get(path) != right.get(path))
                    problems.append(f"left another {', '.join(other)}")
                beside = {path.name for path in place.iterdir()} - given - {"right", "out"}
                if beside:
                    problems.append(f"left beside it {sorted(beside)}")
                if problems:
                    wrong += 1
                    print(f"{name}, kill {number}: {'; '.join(problems)}", file=sys.stderr)
                subprocess.run(["rm", "-rf", "out", *beside], cwd=place, check=True)
            subprocess.run(["rm", "-rf", "right"], cwd=place, check=True)
            print(f"{name}\t{kills}\t{killed}\t{gone_on}\t{wrong}\t{seconds:.2f}", flush=True)
            all_wrong += wrong
        sys.exit(all_wrong > 0)


if __name__ == "__main__":
    main()
