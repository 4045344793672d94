"""``python -m benchmarks [NAME…] [--json FILE] [--markdown FILE]``: run all benchmarks, or those named."""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys
from typing import Dict, List, Optional, Sequence

from . import results

NAMES = (
    "one_rank",
    "two_ranks",
    "scaling",
    "all_reduce",
    "overlap",
    "links",
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


def write(
    found: Sequence[results.Result], machine: Dict[str, str], json: Optional[str], markdown: Optional[str]
) -> None:
    """The files that were asked for, with what is found by now; pictures beside the Markdown page."""
    if json:
        pathlib.Path(json).write_text(results.as_json(found, machine), encoding="utf-8")
    if markdown:
        page = pathlib.Path(markdown)
        pictures = {}
        for result in found:
            file = page.parent / f"{result.name}.png"
            if results.picture(result, file):
                pictures[result.title] = file.name
        page.write_text(results.markdown(found, machine, pictures), encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print benchmark tables.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (default: all): {', '.join(NAMES)}")
    parser.add_argument("--json", metavar="FILE", help="write the values into this file too")
    parser.add_argument("--markdown", metavar="FILE", help="write a page of the tables, and pictures beside it")
    given = parser.parse_args(argv)
    mistakes = [f"no benchmark is called '{name}'" for name in given.names if name not in NAMES]
    files = [file for file in (given.json, given.markdown) if file]
    mistakes += [f"{file}: its folder does not exist" for file in files if not pathlib.Path(file).parent.is_dir()]
    if mistakes:
        print(f"{'; '.join(mistakes)}. The benchmarks are: {', '.join(NAMES)}", file=sys.stderr)
        return 1
    from . import machine

    here = machine.describe()
    for about, value in here.items():
        print(f"{about}: {value}", flush=True)
    found: List[results.Result] = []
    for name in given.names or NAMES:
        for result in importlib.import_module(f"benchmarks.{name}").run():
            print(f"\n{results.text(result)}", flush=True)
            found.append(result)
        write(found, here, given.json, given.markdown)  # what is measured is kept, whatever the next one does
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
