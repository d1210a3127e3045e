"""The work of `fuzz`, which says what it does."""

import os, pathlib, resource, shutil, subprocess, sys, tempfile, time

program, inputs, runs, seed = sys.argv[1], *map(int, sys.argv[2:5])
results = pathlib.Path("docs/results/fuzz.tsv")
# Inputs of each target at once, and those of them that the program gets.
STEP, FEW = 100, 10
COLUMNS = "what\ttarget\tseed\tfirst\tinputs\ttaken\tseconds\n"


def done():
    rows = results.read_text().splitlines()[1:] if results.exists() else []
    return [row.split("\t") for row in rows]


def note(*row):
    if not results.exists():
        results.write_text(COLUMNS)
    with results.open("a") as file:
        file.write("\t".join(map(str, row)) + "\n")


def test(name, **variables):
    environment = os.environ | {f"WGRAD_FUZZ_{key.upper()}": str(value) for key, value in variables.items()}
    command = ["cargo", "test", "-q", "--locked", "--test", "fuzz", name, "--", "--ignored", "--nocapture"]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        sys.exit(ran.stdout)
    return [line.split("row\t", 1)[1] for line in ran.stdout.splitlines() if "row\t" in line]


def readers():
    """Inputs of all targets through the library's readers."""
    while True:
        rows = [row for row in done() if row[0] == "readers" and row[2] == str(seed)]
        if sum(int(row[4]) for row in rows) >= inputs:
            return
        first = max((int(row[3]) + int(row[4]) for row in rows), default=0)
        for row in test("so_many_inputs", seed=seed, first=first, inputs=STEP):
            note(*row.split("\t"))


def commands(target, folder):
    """What the program does with an input of a target."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    tokenizer = "tests/golden/twenty_scripts/word_piece"
    out = folder / "out"
    if target in ("config", "sentence"):
        return [["info", folder]]
    if target == "tokenizer":
        return [["info", files[0]], ["tokenizer", "show", "--tokenizer", files[0], "A text."]]
    if target in ("safetensors", "pickle"):
        return [["info", files[0]]]
    if target in ("data", "checkpoint"):
        return [["info", folder]]
    if target == "rows":
        return [["info", files[0]]]
    return [["info", files[0]], ["data", "prepare", files[0], "--tokenizer", tokenizer, "--held-out", "0", "--out", out]]


def limited():
    # What a crafted file makes it take beyond this is a failure, not a matter of this machine's.
    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))


def run(target, folder):
    """Whether all commands ended well; how they fail is looked at."""
    good = True
    for command in commands(target, folder):
        command = [program, *map(str, command)]
        try:
            ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 timeout=120, preexec_fn=limited)
        except subprocess.TimeoutExpired:
            sys.exit(f"two minutes were not enough: {command}; see {keep(folder)}")
        told = ran.stderr.decode(errors="replace")
        errors = [line for line in told.splitlines() if not line.startswith("note: ")]
        sound = ran.returncode == 0 or (ran.returncode == 1 and len(errors) == 1 and errors[0].startswith("error: "))
        if not sound or "panicked" in told or "\x1b" in told:
            sys.exit(f"{command} ended with {ran.returncode}: {told}; see {keep(folder)}")
        good &= ran.returncode == 0
    return good


def keep(folder):
    kept = tempfile.mkdtemp(prefix="wgrad-fuzz-")
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    return kept


def by_program():
    """Inputs of all targets through the program."""
    while True:
        rows = [row for row in done() if row[0] == "program" and row[2] == str(seed)]
        if sum(int(row[4]) for row in rows) >= runs:
            return
        first = max((int(row[3]) + int(row[4]) for row in rows), default=0)
        with tempfile.TemporaryDirectory() as place:
            test("inputs_for_the_program", seed=seed, first=first, inputs=FEW, folder=place)
            targets = {}
            for folder in sorted(pathlib.Path(place).iterdir()):
                began = time.monotonic()
                target = folder.name.rsplit("-", 1)[0]
                found = targets.setdefault(target, [0, 0, 0.0])
                found[1] += run(target, folder)
                found[0] += 1
                found[2] += time.monotonic() - began
            for target, (count, taken, seconds) in targets.items():
                note("program", target, seed, first, count, taken, round(seconds))


readers()
by_program()
