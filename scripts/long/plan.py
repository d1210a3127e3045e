"""The work of `plan`, which says what it does."""

import contextlib
import csv
import json
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import sys
import tempfile

wgrad, results = sys.argv[1], pathlib.Path(sys.argv[2])
COLUMNS = ["network", "ranks", "planned", "measured", "off"]
RANKS = [1, 2, 4]
NETWORKS = ["100Mbit", "1Gbit", "none"]
# What a network without a limit is taken for, which no real run of these sizes notices.
NO_LIMIT = "40Gbit"
SETTINGS = ["--preset", "micro", "--micro-batch", "8", "--precision", "f32"]
STEPS = 24
# The first steps compile kernels, and find out how a step is cut into submissions.
SETTLING = 6
# Of one processor, for each machine: four of them fit on two processors.
PART = 0.45
PERIOD = 4_000
BRIDGE = "wgrad-plan"


def call(*arguments):
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True, text=True)


class Group:
    """A control group with a part of a processor. What is in it stays on one: of two, one would get all of a period's part, and
    threads on the other one stand still."""

    def __init__(self, name):
        root = pathlib.Path("/sys/fs/cgroup")
        second = (root / "cgroup.controllers").exists()
        self.folder = (root if second else root / "cpu") / name
        quota = round(PART * PERIOD)
        if second:
            (root / "cgroup.subtree_control").write_text("+cpu")
        self.folder.mkdir(exist_ok=True)
        if second:
            (self.folder / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota))


def address(number):
    return f"10.77.31.{number + 1}"


def limit(place, device, network):
    """`device`, which `place` leads into, sends no faster than that."""
    if network != "none":
        call(*place, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", network, "burst", "64kb", "latency", "50ms")


@contextlib.contextmanager
def machines(count, network):
    """Namespaces on one bridge, `count` of them."""
    names = [f"{BRIDGE}-{number}" for number in range(count)]
    try:
        call("ip", "link", "add", BRIDGE, "type", "bridge")
        call("ip", "link", "set", BRIDGE, "up")
        for number, name in enumerate(names):
            inside, outside = ["ip", "netns", "exec", name], f"wgrad-veth{number}"
            call("ip", "netns", "add", name)
            call("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            call("ip", "link", "set", outside, "master", BRIDGE, "up")
            call(*inside, "ip", "address", "add", f"{address(number)}/24", "dev", "eth0")
            call(*inside, "ip", "link", "set", "eth0", "up")
            call(*inside, "ip", "link", "set", "lo", "up")
            limit(inside, "eth0", network)
            limit([], outside, network)
            Group(name)
        yield names
    finally:
        # The devices of a namespace would go some time after it.
        for number, name in enumerate(names):
            subprocess.run(["ip", "link", "delete", f"wgrad-veth{number}"], capture_output=True)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)


def machine(place, number):
    """A command that runs another one on a machine."""
    name = f"{BRIDGE}-{number}"
    folder = Group(name).folder
    script = place / f"machine-{number}"
    script.write_text(
        f"#!/bin/sh\necho $$ > {folder}/cgroup.procs\n"
        f"exec taskset -c {number % os.cpu_count()} ip netns exec {name} unshare --uts sh -c 'hostname {name} && exec \"$@\"' sh \"$@\"\n"
    )
    script.chmod(0o755)
    return script


def mpirun(place, ranks):
    """The beginning of a command line that starts a process on each machine."""
    if ranks == 1:
        return [machine(place, 0)]
    agent = place / "agent"
    cases = "".join(f"{address(number)}) on={machine(place, number)} ;;\n" for number in range(ranks))
    # What takes the place of ssh is given a host's address and a line for a shell.
    agent.write_text(f'#!/bin/sh\ncase $1 in\n{cases}esac\nshift\nexec "$on" sh -c "$*"\n')
    agent.chmod(0o755)
    hosts = ",".join(f"{address(number)}:1" for number in range(ranks))
    return [
        machine(place, 0), "mpirun", "--host", hosts, "-n", ranks, "--bind-to", "none",
        *["--mca", "plm_rsh_agent", agent, "--mca", "btl", "tcp,self", "--mca", "pml", "ob1"],
        *["--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0"],
    ]  # fmt: skip


# A software driver's threads would use up the part of a machine in bursts, and stand still for the rest of a period.
ENVIRONMENT = {**os.environ, "LP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def said(arguments):
    done = subprocess.run(list(map(str, arguments)), env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def step_seconds(place, ranks, network):
    out = place / "run"
    shutil.rmtree(out, ignore_errors=True)
    with machines(ranks, network):
        said([
            *mpirun(place, ranks), wgrad, "pretrain", *SETTINGS, "--data", place / "data", "--out", out,
            *["--steps", STEPS, "--set", "evaluate.every=1000", "--set", "checkpoint.every=1000"],
        ])  # fmt: skip
    with (out / "metrics.csv").open() as rows:
        seconds = {int(row["step"]): float(row["seconds"]) for row in csv.DictReader(rows)}
    return (seconds[STEPS - 1] - seconds[SETTLING]) / (STEPS - 1 - SETTLING)


def planned(place, network):
    """Seconds of a step by the number of ranks."""
    rate = NO_LIMIT if network == "none" else network
    with machines(1, network):
        arguments = [machine(place, 0), wgrad, "plan", *SETTINGS, "--ranks", 4, "--network", rate, "--json"]
        rows = json.loads(said(arguments))["plan"]
    return {row["ranks"]: row["step_seconds"] for row in rows}


def known():
    rows = results.read_text().splitlines()[1:] if results.exists() else []
    return {tuple(row.split("\t")[:2]) for row in rows}


def main():
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        words = [f"w{draw.getrandbits(8):x}" for _ in range(200)]
        (place / "text.txt").write_text("\n".join(" ".join(draw.choices(words, k=80)) for _ in range(2000)) + "\n")
        said([wgrad, "tokenizer", "train", place / "text.txt", "--vocab-size", 400, "--out", place / "tok"])
        said([wgrad, "data", "prepare", place / "text.txt", "--tokenizer", place / "tok", "--seq-len", 64,
              "--held-out", 32, "--out", place / "data"])  # fmt: skip
        for network in NETWORKS:
            left = [ranks for ranks in RANKS if (network, str(ranks)) not in known()]
            expected = planned(place, network) if left else {}
            for ranks in left:
                measured = step_seconds(place, ranks, network)
                off = expected[ranks] / measured - 1
                row = [network, ranks, f"{expected[ranks]:.3f}", f"{measured:.3f}", f"{100 * off:+.0f}%"]
                if not results.exists():
                    results.write_text("\t".join(COLUMNS) + "\n")
                with results.open("a") as out:
                    out.write("\t".join(map(str, row)) + "\n")
                print(*row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
