"""Peak resident memory of converting few crops and many, side by side: what grows is rows, never pixels.

    python tests/benchmarks/memory.py --crops 5000 50000

Archives are made with ``make_crops.py`` (or given with ``--tars``, one a count) and deleted afterwards. Each
conversion is a process of its own, and so is a run that only imports what a conversion imports: what is left is
the work. Shards under way take the same whatever the source; what is known of every member (name, offset, digests,
fields) is held in columns, and comes together when tables are made: some 0.4 kB a member beside its 52 kB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(tar: Path | None, store: Path, workers: int) -> dict[str, float]:
    """Convert in this process, or only import where there is no archive; give its peak and what it took."""
    import numba  # noqa: F401
    import zarr  # noqa: F401

    import zarrscope as zs
    from zarrscope.engine import finish, pairing, run  # noqa: F401

    started = time.perf_counter()
    if tar is not None:
        zs.convert(tar, store, workers=workers)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, "seconds": seconds}


def in_a_process(tar: Path | None, scratch: Path, workers: int) -> dict[str, float]:
    """Measure in a process of its own: a peak never goes down again."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [sys.executable, __file__, "--one", str(tar or ""), "--scratch", folder, "--workers", str(workers)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(told)
    return found


def main() -> None:
    """Measure each count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, nargs="+", default=[5_000, 50_000], metavar="N")
    parser.add_argument("--tars", type=Path, nargs="+", help="archives that are there already, in place of --crops")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="where archives and stores are written; temporary by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        tar = Path(chosen.one) if chosen.one else None
        print(json.dumps(measure(tar, chosen.scratch / "crops.zarr", chosen.workers)))
        return
    base = in_a_process(None, chosen.scratch, chosen.workers)["peak"]
    print(f"{'archive':>24} {'MB':>8} {'seconds':>8} {'peak MB':>8} {'above imports':>14}")
    print(f"{'imports alone':>24} {'':>8} {'':>8} {base:8.0f} {0:14.0f}")
    for item in chosen.tars or chosen.crops:
        with tempfile.TemporaryDirectory(dir=chosen.scratch) as folder:
            tar = item if isinstance(item, Path) else Path(folder) / f"{item}.tar"
            if not isinstance(item, Path):
                maker = Path(__file__).with_name("make_crops.py")
                subprocess.run([sys.executable, maker, tar, "--crops", str(item)], check=True)
            found = in_a_process(tar, Path(folder), chosen.workers)
            size = tar.stat().st_size / 1e6
        row = f"{tar.name:>24} {size:8.0f} {found['seconds']:8.1f} {found['peak']:8.0f}"
        print(f"{row} {found['peak'] - base:14.0f}", flush=True)


if __name__ == "__main__":
    main()
