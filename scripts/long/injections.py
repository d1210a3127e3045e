"""The work of `injections`, which says what it does."""

import http.server, os, pathlib, random, shutil, subprocess, sys, tempfile, threading, time

from kills import Hub, contents

wgrad, points, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
root = pathlib.Path.cwd()
results = root / "docs/results/injections.tsv"
golden = root / "tests/golden"
ERRORS = ["ENOSPC", "EIO", "EACCES"]
# What changes files. What a driver reads to begin with is its own.
CALLS = ["write", "fsync", "rename", "renameat", "renameat2", "mkdir", "ftruncate", "unlink", "rmdir", "flock", "pwrite64"]


def same(left, right):
    """Whether two folders hold the same; what says when it was made, or by which process, may differ."""
    timed = ("lock", "metrics.csv", "metrics.jsonl", "loss.svg", "README.md", "checksums.json", "reference_vectors.json", "train.json")
    plain = lambda files: {name: sum for name, sum in files.items() if name.rpartition("/")[2] not in timed}
    return plain(left) == plain(right)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = results.read_text().splitlines() if results.exists() else ["command\tcall\terror\twhen\tended\twhat was left"]
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        draw = random.Random(seed)
        words = [f"w{draw.getrandbits(12):x}" for _ in range(500)]
        texts = [" ".join(draw.choices(words, k=8)) for _ in range(400)]
        (place / "text.txt").write_text("\n".join(texts) + "\n")
        (place / "rows.csv").write_text("text,label\n" + "".join(f"{text},{at % 2}\n" for at, text in enumerate(texts[:40])))
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(place), "NO_PROXY": "*",
            "MESA_SHADER_CACHE_DISABLE": "true", "RUST_BACKTRACE": "0",
        }
        tokenizer = ["tokenizer", "train", "text.txt", "--vocab-size", "300"]
        subprocess.run([wgrad, *tokenizer, "--out", "tok"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        family = str(golden / "families/distilbert_classes")
        commands = {
            "tokenizer train": [*tokenizer, "--out"],
            "data prepare": ["data", "prepare", "text.txt", "--tokenizer", "tok", "--seq-len", "16", "--out"],
            "data fetch": ["data", "fetch", "hf:some/set", "--config", "pt", "--out"],
            "embed": ["embed", "--model", str(golden / "sentence_transformers"), "--input", "text.txt", "--output"],
            "finetune": ["finetune", "--task", "classify", "--model", family, "--train", "rows.csv", "--eval", "rows.csv",
                         "--epochs", "1", "--max-length", "16", "--out"],
        }
        for name, command in commands.items():
            out = lambda kind: f"{kind}/out.npy" if name == "embed" else kind
            run = lambda kind, *before: subprocess.run(
                [*before, wgrad, *command, out(kind)], cwd=place, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=300, errors="replace")
            if name == "embed":
                (place / "right").mkdir()
            counted = run("right", "strace", "-f", "-qq", "-e", f"trace={','.join(CALLS)}", "-o", place / "calls")
            if counted.returncode:
                sys.exit(f"{name}: {counted.stderr}")
            right = contents(place / "right")
            counts = {call: (place / "calls").read_text().count(f" {call}(") for call in CALLS}
            (place / "calls").unlink()
            every = [(call, when) for call, count in counts.items() for when in range(1, min(count, 40) + 1)]
            random.Random(f"{seed} {name}").shuffle(every)
            for at, (call, when) in enumerate(every[:points]):
                error = ERRORS[at % len(ERRORS)]
                if any(row.startswith(f"{name}\t{call}\t{error}\t{when}\t") for row in rows):
                    continue
                if name == "embed":
                    (place / "out").mkdir()
                inject = f"inject={call}:error={error}:when={when}"
                ran = run("out", "strace", "-f", "-qq", "-e", f"trace={call}", "-e", inject, "-e", "signal=none", "-o", "/dev/null")
                lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
                problems = []
                if ran.returncode not in (0, 1, 3) or "panicked" in ran.stderr or (ran.returncode and len(lines) != 1):
                    problems.append(f"ended with {ran.returncode}: {ran.stderr[-300:]!r}")
                left = contents(place / "out") if (place / "out").exists() else {}
                # What could not be removed stays, under a name that nobody takes for a result.
                if call in ("unlink", "rmdir"):
                    stays = lambda path: path.rpartition("/")[2].startswith(".") or path == "lock"
                    left = {path: sum for path, sum in left.items() if not stays(path)}
                if ran.returncode == 0 and not same(left, right) and not any("warning" in l for l in ran.stderr.splitlines()):
                    problems.append("said that all is well, and left something else")
                whole = {path for path in left if not path.rpartition("/")[2].startswith(".")}
                foreign = [path for path in whole if name in ("tokenizer train", "embed", "data fetch") and left[path] != right.get(path)]
                problems += [f"{path} is not whole" for path in foreign]
                if same(left, right):
                    # Only what comes after the result failed: a word on the screen, or the last sync.
                    again = None
                elif ran.returncode and name == "finetune":
                    again = subprocess.run([wgrad, *command, "out", "--resume"], cwd=place, env=environment,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                    if again.returncode:
                        shutil.rmtree(place / "out", ignore_errors=True)
                        again = run("out")
                elif ran.returncode:
                    again = run("out")
                else:
                    again = ran
                if again and (again.returncode or not same(contents(place / "out"), right)):
                    problems.append(f"did not end well afterwards: {again.stderr[-300:]!r}")
                wrong += bool(problems)
                what = "; ".join(problems) or "nothing wrong"
                rows.append("\t".join(map(str, (name, call, error, when, ran.returncode, what.replace("\t", " ")))))
                results.write_text("\n".join(rows) + "\n")
                shutil.rmtree(place / "out", ignore_errors=True)
            shutil.rmtree(place / "right", ignore_errors=True)
    print(f"{len(rows) - 1} points, {wrong} of this run's wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
