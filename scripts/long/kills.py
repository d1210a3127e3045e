"""What `scripts/long/kills` runs: see there."""

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


def main():
    wgrad, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        words = [f"w{draw.getrandbits(14):x}" for _ in range(4000)]
        lines = (" ".join(draw.choices(words, k=12)) for _ in range(300_000))
        (place / "text.txt").write_text("\n".join(lines) + "\n")
        environment = dict(os.environ, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HOME=str(place), NO_PROXY="*")
        tokenizer = ["tokenizer", "train", "text.txt", "--vocab-size", "700"]
        subprocess.run([wgrad, *tokenizer, "--out", "tok"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        commands = {
            "tokenizer train": tokenizer,
            "data prepare": [
                *["data", "prepare", "text.txt", "--tokenizer", "tok", "--seq-len", "32", "--pack"],
                *["--held-out", "100", "--save-every", "0"],
            ],
            "data fetch": ["data", "fetch", "hf:some/set", "--config", "pt"],
        }
        all_wrong = 0
        print("command\tkills\tof these before it was over\tgone on with\twrong\tseconds without a kill")
        for name, command in commands.items():
            run = lambda out: subprocess.Popen(
                [wgrad, *command, "--out", out],
                cwd=place,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            clock = time.monotonic()
            assert run("right").wait() == 0, name
            seconds = time.monotonic() - clock
            right = contents(place / "right")
            killed = gone_on = wrong = 0
            for number in range(kills):
                process = run("out")
                time.sleep(draw.uniform(0, seconds))
                process.kill()
                killed += process.wait() != 0
                half = contents(place / "out") if (place / "out").exists() else {}
                named = {path for path in half if not path.rpartition("/")[2].startswith(".")}
                problems = [path for path in named if half[path] != right.get(path)]
                if not (place / "out").exists() or contents(place / "out") != right:
                    # What was not killed in time is finished; a folder of shards is not made twice.
                    process = run("out")
                    said = process.communicate()[1]
                    gone_on += b"goes on from" in said
                    if process.returncode != 0:
                        problems.append(said.decode().strip())
                if contents(place / "out") != right:
                    problems.append(f"left {sorted(contents(place / 'out'))}")
                beside = {path.name for path in place.iterdir()} - {"text.txt", "tok", "right", "out"}
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
