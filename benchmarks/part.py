"""``python -m benchmarks.part NAME FOLDER``: measure one part in this process, and keep what it found in FOLDER.

``python -m benchmarks`` starts it for each part: what one has loaded, set or left behind is no other's.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
import time

from . import common, kept, machine, others, results


def measure(name: str) -> kept.Part:
    """Run a part and print its tables."""
    about, version = machine.describe(), kept.version()
    began = time.monotonic()
    with others.Watch() as watch:
        found = importlib.import_module(f"benchmarks.{name}").run()
    for result in found:
        print(f"\n{results.text(result)}", flush=True)
    taken = watch.others
    minutes = (time.monotonic() - began) / 60
    print(f"{name}: {minutes:.1f} minutes, in which other processes took {taken}", file=sys.stderr, flush=True)
    return kept.Part(name, tuple(found), about, version, common.SHORT, minutes, tuple(taken), taken.busy)


if __name__ == "__main__":
    kept.save(measure(sys.argv[1]), pathlib.Path(sys.argv[2]))
