"""Runs a command and says what it took: the seconds, those of the processor, and the most memory in MB.

What Linux tells of a process counts the memory of the one that it was begun from, until it becomes another program. So commands
of a large program, as one that has made texts, are begun by this small one, as a process of its own."""

import json
import os
import subprocess
import sys
import time


def measured(command, cwd=None, stdout=subprocess.DEVNULL):
    """Seconds, seconds of the processor, and MB of memory at most; ends with the command's own status where it fails."""
    reading, writing = os.pipe()
    small = [sys.executable, "-S", os.path.abspath(__file__), str(writing), *command]
    process = subprocess.Popen(small, cwd=cwd, stdout=stdout, pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as said:
        took = said.read()
    if process.wait() != 0 or not took:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return tuple(json.loads(took))


def main():
    said = int(sys.argv[1])
    os.set_inheritable(said, False)
    clock = time.monotonic()
    process = subprocess.Popen(sys.argv[2:])
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - clock
    os.write(said, json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]).encode())
    sys.exit(min(abs(os.waitstatus_to_exitcode(status)), 255))


if __name__ == "__main__":
    main()
