"""``python -m benchmarks [NAME…]``: measure all parts of the benchmarks, or those named, and write the page of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import List, Sequence

from . import kept, machine, others
from .common import BUILD

#: Minutes that a part takes at most, whatever it is; then it is ended, and the next one begins.
LIMIT = 30.0
#: Minutes for all parts together.
TOGETHER, TOGETHER_SHORT = 90.0, 10.0

NAMES = (
    "one_rank",
    "two_ranks",
    "scaling",
    "ddp",
    "time_to_accuracy",
    "all_reduce",
    "overlap",
    "links",
    "growth",
    "many_ranks",
    "features",
    "transform",
    "decoding",
    "memory",
    "encryption",
    "monitoring",
    "kernels",
    "modes",
    "autoencoder",
)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write the page of it.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which parts (default: all): {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="one round and small sizes: to see that it works")
    parser.add_argument("--resume", action="store_true", help="pass over parts that this version has measured already")
    parser.add_argument("--busy", action="store_true", help="measure although others use the machine; the page says so")
    parser.add_argument("--write", action="store_true", help="measure nothing: write the page of what is kept")
    minutes = f"for all parts together (default: {TOGETHER:g}, or {TOGETHER_SHORT:g} with --short)"
    parser.add_argument("--minutes", type=float, metavar="N", help=minutes)
    folder = "of what was found (default: benchmarks/kept, or build/benchmarks/short with --short)"
    parser.add_argument("--kept", type=pathlib.Path, metavar="FOLDER", help=folder)
    page = "write a page of everything kept, and pictures next to it"
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help=page)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line, with what is left to the defaults."""
    given = arguments().parse_args(argv)
    given.kept = given.kept or (BUILD / "short" if given.short else kept.FOLDER)
    given.minutes = given.minutes or (TOGETHER_SHORT if given.short else TOGETHER)
    given.names = given.names or list(NAMES)
    return given


def mistakes(given: argparse.Namespace) -> List[str]:
    """What is wrong with the command line: at most one line."""
    found = [f"no benchmark is called '{name}'" for name in given.names if name not in NAMES]
    if given.markdown and not given.markdown.parent.is_dir():
        found.append(f"{given.markdown}: its folder does not exist")
    if given.write and not given.markdown:
        found.append("--write needs --markdown FILE")
    return [f"{'; '.join(found)}. The benchmarks are: {', '.join(NAMES)}"] if found else []


def is_kept(name: str, folder: pathlib.Path, version: str, short: bool) -> bool:
    """Whether this version has measured a part already, undisturbed and as fully as is asked."""
    found = kept.load(folder, [name])
    return bool(version) and any(part.version == version and part.short <= short and not part.busy for part in found)


def measure(name: str, folder: pathlib.Path, short: bool, minutes: float) -> str:
    """Measure a part in a process of its own; what went wrong, or ""."""
    environment = {**os.environ, **({"CAFFEONSPARK_BENCHMARK_SHORT": "1"} if short else {})}
    words = [sys.executable, "-m", "benchmarks.part", name, str(folder)]
    process = subprocess.Popen(words, env=environment, start_new_session=True)
    try:
        status = process.wait(minutes * 60)
        return f"it ended with status {status}" if status else ""
    except subprocess.TimeoutExpired:
        return f"it took longer than {minutes:.1f} minutes, and was ended"
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """End a part and whatever it has started: the first chance is its own, so that it can clean up."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    for line in mistakes(given):
        print(line, file=sys.stderr)
        return 1
    failed = [] if given.write else measure_all(given)
    parts = kept.load(given.kept, NAMES)
    if given.markdown and parts:
        kept.write_page(parts, given.markdown)
    elif given.write:
        print(f"nothing is kept in {given.kept}: measure first", file=sys.stderr)
        return 1
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def measure_all(given: argparse.Namespace) -> List[str]:
    """Measure what is asked for; a line for each part that was not."""
    for about, value in machine.describe().items():
        print(f"{about}: {value}", flush=True)
    version, failed, deadline = kept.version(), [], time.monotonic() + given.minutes * 60
    for name in given.names:
        if given.resume and is_kept(name, given.kept, version, given.short):
            print(f"{name}: measured already", file=sys.stderr, flush=True)
            continue
        left = (deadline - time.monotonic()) / 60
        if left <= 0:
            failed.append(f"{name}: not measured, for {given.minutes:g} minutes are over: --resume goes on from here")
            continue
        now = others.wait_until_quiet(0 if given.busy else 60)
        if now.busy and not given.busy:
            failed.append(
                f"{name}: not measured, for other processes take {now.mean:.2f} cores of this machine (more than "
                f"{others.QUIET:g}): end them and go on with --resume, or measure all the same with --busy"
            )
            break
        wrong = measure(name, given.kept, given.short, min(LIMIT, left))
        if wrong:
            failed.append(f"{name}: not measured: {wrong}")
        elif given.markdown:  # what is measured is on the page, whatever the next one does
            kept.write_page(kept.load(given.kept, NAMES), given.markdown)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
