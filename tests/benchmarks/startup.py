"""How long an import and a first help take, over the start of a bare interpreter.

    python tests/benchmarks/startup.py

Each program runs in a fresh process of this interpreter, all of them in turn, twenty times; the first turn, which
warms the disk's cache, is not counted. Medians are printed, in milliseconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

PROGRAMS = {
    "bare": "pass",
    "import zarrscope": "import zarrscope",
    "zarrscope --help": "from zarrscope.cli import main; main(['--help'])",
}
MOST = {"import zarrscope": 100, "zarrscope --help": 200}  # milliseconds that we promise


def run(program: str) -> float:
    """Run a program in a process of its own, and give its milliseconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def main() -> int:
    """Alternate the programs, and print medians; 1 where one takes longer than promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    turns = [{name: run(program) for name, program in PROGRAMS.items()} for _ in range(runs + 1)][1:]
    found = {name: median(turn[name] for turn in turns) for name in PROGRAMS}
    print(f"{'bare python':18} {found['bare']:6.1f} ms")
    for name, most in MOST.items():
        print(f"{name:18} {found[name]:6.1f} ms, {found[name] - found['bare']:5.1f} more (promised: under {most})")
    return int(any(found[name] - found["bare"] > most for name, most in MOST.items()))


if __name__ == "__main__":
    sys.exit(main())
