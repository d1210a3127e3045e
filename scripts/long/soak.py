"""The work of `soak`, which says what it does."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

from kills import lasting

wgrad, place = sys.argv[1], pathlib.Path(sys.argv[2])
minutes, seed = float(sys.argv[3]), int(sys.argv[4])
results = pathlib.Path.cwd() / "docs/results/soak.tsv"
golden = pathlib.Path.cwd() / "tests/golden"
COLUMNS = ["round", "seed", "command", "kills", "stops", "full disks", "lost devices", "resumed", "seconds", "what was left"]
FAULTS = ["kill", "stop", "full", "lost"]
LAYER = "VK_LAYER_WGRAD_lost_device"
# What a run that is resumed finds in its folder.
BEGUN = {"pretrain": "train.json", "finetune": "finetune.json"}


def prepare():
    """Texts, data, the layer that loses devices, and a run of each command that nothing happens to; its seconds."""
    draw = random.Random(seed)
    words = [f"w{draw.getrandbits(10):x}" for _ in range(300)]
    texts = [" ".join(draw.choices(words, k=8)) for _ in range(2000)]
    (place / "text.txt").write_text("\n".join(texts) + "\n")
    rows = "".join(f"{text},{at % 2}\n" for at, text in enumerate(texts[:120]))
    (place / "rows.csv").write_text("text,label\n" + rows)
    layer = {"name": LAYER, "type": "GLOBAL", "library_path": str(place / "liblost_device.so"), "api_version": "1.3.0",
             "implementation_version": "1", "description": "loses the device"}
    (place / "lost_device.json").write_text(json.dumps({"file_format_version": "1.2.0", "layer": layer}))
    for command in [
        ["tokenizer", "train", "text.txt", "--vocab-size", "300", "--out", "tok"],
        ["data", "prepare", "text.txt", "--tokenizer", "tok", "--seq-len", "32", "--held-out", "40", "--out", "data"],
    ]:
        subprocess.run([wgrad, *command], cwd=place, check=True, stdout=subprocess.DEVNULL)
    seconds = {}
    for command in COMMANDS:
        # The first run makes what a driver keeps of its kernels; the second one's time is the command's.
        for _ in range(2):
            shutil.rmtree(place / command, ignore_errors=True)
            (place / command).mkdir()
            began = time.monotonic()
            # Its name is that of the others: pictures bear it.
            status, told = attempt(command, f"{command}/out")
            if status:
                sys.exit(f"{command}: {told}")
            seconds[command] = time.monotonic() - began
        print(f"{command}: {seconds[command]:.1f} s when nothing happens", flush=True)
    return seconds


SMALL = ["model.hidden_size=32", "model.num_hidden_layers=2", "model.num_attention_heads=2", "model.intermediate_size=64"]
OFTEN = ["batch_sequences=16", "micro_batch=8", "evaluate.every=20", "checkpoint.every=20", "checkpoint.minutes=0"]
COMMANDS = {
    "pretrain": [
        *["pretrain", "--preset", "micro", "--data", "data", "--steps", "300"],
        *[word for setting in SMALL + OFTEN for word in ("--set", setting)],
    ],
    "finetune": [
        *["finetune", "--task", "classify", "--model", str(golden / "families/distilbert_classes"), "--epochs", "10"],
        *["--train", "rows.csv", "--eval", "rows.csv", "--max-length", "16", "--seeds", "2"],
    ],
}


def attempt(command, out, fault=None, when=0.0, number=0):
    """Runs a command once, with what happens to it; how it ended, and what it said."""
    before, environment = [], dict(os.environ)
    if fault == "full":
        # From one write on, eight fail; then there is room again.
        inject = f"inject=write,fsync,pwrite64:error=ENOSPC:when={number}..{number + 7}"
        before = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=write,fsync,pwrite64", "-e", inject]
        before += ["-e", "signal=none", "-o", "/dev/null"]
    if fault == "lost":
        environment |= {"VK_LAYER_PATH": str(place), "VK_INSTANCE_LAYERS": LAYER, "LOSE_AFTER": str(number)}
    resumed = ["--resume"] if (place / out / BEGUN[command]).exists() else []
    process = subprocess.Popen(
        [*before, wgrad, *COMMANDS[command], "--out", out, *resumed],
        cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    )
    try:
        if fault in ("kill", "stop"):
            try:
                process.wait(when)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL if fault == "kill" else signal.SIGINT)
        told = process.communicate(timeout=600)[1]
    except subprocess.TimeoutExpired:
        # strace leaves the program that it traces running.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, "it did not end within ten minutes"
    return process.returncode, told


def play(number, seconds, right):
    """A round; its row, and whether it ended as it should."""
    draw = random.Random(f"{seed} {number}")
    command = list(COMMANDS)[number % len(COMMANDS)]
    shutil.rmtree(place / "out", ignore_errors=True)
    counts, resumed, problems, began = dict.fromkeys(FAULTS, 0), 0, [], time.monotonic()
    # At last nothing happens any more.
    for fault in [*draw.choices(FAULTS, k=draw.randint(3, 7)), None]:
        begun = (place / "out" / BEGUN[command]).exists()
        status, told = attempt(command, "out", fault, draw.uniform(0, 0.6 * seconds[command]), draw.randint(5, 150))
        if begun and status == 1 and "one that is done" in told:
            # So finetuning says that what happened last came too late to matter.
            break
        resumed += begun
        happened = {
            "kill": status == -signal.SIGKILL,
            "stop": status == 130 or "interrupted" in told.lower() or "stopped" in told.lower(),
            "full": "No space left" in told,
            "lost": "device was lost" in told,
        }
        if fault:
            counts[fault] += happened[fault]
        expected = {"kill": (0, -signal.SIGKILL), "stop": (0, 130, -signal.SIGINT), "full": (0, 1)}.get(fault, (0,))
        if status not in expected or "panicked" in told:
            problems.append(f"{fault or 'undisturbed'} ended with {status}: {told[-300:]!r}")
        if status == 0 and not happened.get(fault):
            # It was over before anything could happen.
            break
    found = lasting(place / "out")
    other = sorted(path for path in found.keys() | right[command].keys() if found.get(path) != right[command].get(path))
    # A run goes on where a checkpoint finds no room, and saves one when it is stopped, so that it may keep another before its last;
    # the last is never another.
    last = max((path.split("/")[1] for path in right[command] if path.startswith("checkpoints/")), default="")
    elsewhere = lambda path: re.match("checkpoints/step-", path) and last not in path and (path in found) != (path in right[command])
    spared = counts["full"] + counts["stop"] > 0 and all(map(elsewhere, other))
    if other and not spared:
        problems.append(f"another {', '.join(other)}")
    row = [number, seed, command, *counts.values(), resumed, round(time.monotonic() - began)]
    row.append("; ".join(problems) or "the same bits" + (", and another checkpoint before the last" if other else ""))
    return row, not problems


def main():
    rows = [row.split("\t") for row in results.read_text().splitlines()[1:]] if results.exists() else []
    if not results.exists():
        results.write_text("\t".join(COLUMNS) + "\n")
    number = 1 + max((int(row[0]) for row in rows if row[1] == str(seed)), default=-1)
    end = time.monotonic() + 60 * minutes
    seconds = prepare()
    right = {command: lasting(place / command / "out") for command in COMMANDS}
    sound = True
    while time.monotonic() < end:
        row, good = play(number, seconds, right)
        text = "\t".join(str(cell).replace("\t", " ").replace("\n", " ") for cell in row)
        with results.open("a") as file:
            file.write(text + "\n")
        print(text, flush=True)
        sound &= good
        number += 1
    sys.exit(not sound)


if __name__ == "__main__":
    main()
