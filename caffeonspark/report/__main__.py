"""``python -m caffeonspark.report lenet.metrics.jsonl``: the curve of a metrics file, also while its run goes on."""

from __future__ import annotations

import sys
from typing import Optional, Sequence

from ..errors import StorageError
from ..storage import Storage
from .curve import draw_png, static_page
from .metrics import read_metrics
from .state import RunState


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Draw the curve of a metrics file next to it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: python -m caffeonspark.report MODEL.metrics.jsonl", file=sys.stderr)
        return 2
    state, path = RunState(), words[0]
    ending = ".metrics.jsonl"
    base = path[: -len(ending)] if path.endswith(ending) else path
    try:
        for record in read_metrics(path):
            state.record({**record, "resumed": ""} if record["event"] == "start" else record)
        page = state.page()
        Storage().write(f"file:{base}.curve.html", static_page(page).encode())
        print(f"{base}.curve.html")
        if not state.empty:
            Storage().write(f"file:{base}.curve.png", draw_png(page))
            print(f"{base}.curve.png")
    except (OSError, StorageError, ValueError, KeyError) as e:
        print(f"caffeonspark: {path}: {type(e).__name__}: {e}", file=sys.stderr)
        return 1
    except ImportError:
        print("caffeonspark: for a picture as well: pip install matplotlib", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
