"""The work of `ranks`, which says what it does."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from rows import Rows

wgrad, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = Rows(pathlib.Path.cwd() / "docs/results/ranks.tsv", ["what", "precision", "ranks", "seconds", "found"])
STEPS = 30
RECIPE = f"""preset = "micro"
steps = {STEPS}
warmup_steps = 4
batch_sequences = 16
micro_batch = 2
evaluate = {{ every = 10, sequences = 16 }}
checkpoint = {{ every = 5, minutes = 0, keep = 2 }}
"""
# Longer than any run here takes to notice that a rank has gone.
DEADLINE = 60


def command(ranks, *arguments):
    launch = [] if ranks == 1 else ["mpirun", "--oversubscribe", "-n", str(ranks)]
    return [*launch, wgrad, *map(str, arguments)]


ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def start(place, ranks, out, *more):
    begun = "--resume" in more
    recipe = [] if begun else ["--config", place / "recipe.toml", "--blocks", 4]
    arguments = command(ranks, "pretrain", "--data", place / "data", "--out", place / out, *recipe, *more)
    return subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def run(place, ranks, out, *more):
    process = start(place, ranks, out, *more)
    said = process.communicate()[1]
    if process.returncode not in (0, 130):
        sys.exit(f"{out}: {said}")


def model(place, out):
    return (place / out / "model.safetensors").read_bytes()


def ranks_of(out):
    """The processes of a run by their ranks."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        rank = [line.split(b"=")[1] for line in environ if line.startswith(b"OMPI_COMM_WORLD_RANK=")]
        if rank and str(out).encode() in arguments:
            found[int(rank[0])] = int(entry.name)
    return found


def steps_done(out):
    """The steps of a run's newest checkpoint."""
    names = [path.name for path in (out / "checkpoints").glob("step-*")]
    return max((int(name[5:]) for name in names), default=0)


def interrupt_after(place, ranks, out, step, *more):
    """Ctrl-C for rank 0 when a run has a checkpoint of `step`."""
    process = start(place, ranks, out, *more)
    while steps_done(place / out) < step and process.poll() is None:
        time.sleep(0.01)
    own = process.pid if ranks == 1 else ranks_of(place / out).get(0)
    if own and process.poll() is None:
        os.kill(own, signal.SIGINT)
    process.communicate()
    while ranks_of(place / out):
        time.sleep(0.05)


def main():
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        words = [f"w{draw.getrandbits(8):x}" for _ in range(200)]
        text = "\n".join(" ".join(draw.choices(words, k=40)) for _ in range(400))
        (place / "text.txt").write_text(text + "\n")
        (place / "recipe.toml").write_text(RECIPE)
        for arguments in [
            ["tokenizer", "train", place / "text.txt", "--vocab-size", 400, "--out", place / "tok"],
            ["data", "prepare", place / "text.txt", "--tokenizer", place / "tok", "--seq-len", 64, "--held-out", 32,
             "--out", place / "data"],
        ]:
            subprocess.run(command(1, *arguments), check=True, capture_output=True)
        wrong = 0
        for precision in ["f32", "mixed"]:
            chosen = ["--precision", precision]
            run(place, 1, f"right-{precision}", *chosen)
            right = model(place, f"right-{precision}")
            for ranks in [2, 4]:
                if ("30 steps", precision, str(ranks)) not in rows.known(3):
                    out, began = f"{precision}-{ranks}", time.monotonic()
                    run(place, ranks, out, *chosen)
                    same = model(place, out) == right
                    wrong += not same
                    found = "the bits of one process" if same else "OTHER BITS"
                    rows.note("30 steps", precision, ranks, round(time.monotonic() - began), found)
            if ("resumed", precision, "4 2 1") not in rows.known(3):
                out, began = f"{precision}-fewer", time.monotonic()
                interrupt_after(place, 4, out, 5, *chosen)
                interrupt_after(place, 2, out, 15, "--resume", *chosen)
                run(place, 1, out, "--resume", *chosen)
                same = model(place, out) == right
                wrong += not same
                found = "the bits of a run that was not stopped" if same else "OTHER BITS"
                rows.note("resumed", precision, "4 2 1", round(time.monotonic() - began), found)
        right = model(place, "right-f32")
        for number in range(kills):
            rank, after, again = draw.randrange(4), draw.uniform(0.5, 1), draw.choice([1, 2, 4])
            moment = draw.uniform(0, 1)
            if (f"kill {number} of rank {rank}", "f32", f"4 {again}") in rows.known(3):
                continue
            out, began = f"killed-{number}", time.monotonic()
            process = start(place, 4, out, "--precision", "f32")
            # From before the first step to near the last.
            while steps_done(place / out) < moment * (STEPS - 5) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(0.2 * after)
            victim = ranks_of(place / out).get(rank)
            if victim and process.poll() is None:
                os.kill(victim, signal.SIGKILL)
            ended = time.monotonic()
            process.communicate()
            # mpirun itself may end a moment before the ranks.
            while ranks_of(place / out) and time.monotonic() - ended < 2 * DEADLINE:
                time.sleep(0.05)
            took = time.monotonic() - ended
            problems = [f"ended after {took:.0f} s"] if took > DEADLINE else []
            # The system takes the lock of the folder from a killed process a moment after it has ended it.
            time.sleep(1)
            killed_at = steps_done(place / out)
            begun = ["--resume"] if (place / out / "train.json").exists() else []
            if (place / out / "model.safetensors").exists() and process.returncode == 0:
                problems.append("it had ended before")
            else:
                run(place, again, out, *begun, "--precision", "f32")
            if model(place, out) != right:
                problems.append("OTHER BITS")
                wrong += 1
            found = "; ".join(problems) or f"all ended in {took:.1f} s; on from step {killed_at} to the same bits"
            rows.note(f"kill {number} of rank {rank}", "f32", f"4 {again}", round(time.monotonic() - began), found)
        sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
