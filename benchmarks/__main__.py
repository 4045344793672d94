"""``python -m benchmarks [NAME…]``: run all benchmarks, or those named, and print their tables."""

from __future__ import annotations

import importlib
import sys

NAMES = ["one_rank", "two_ranks", "decoding", "memory", "encryption", "monitoring", "kernels", "transform"]


def main() -> int:
    chosen = sys.argv[1:] or NAMES
    for name in chosen:
        if name not in NAMES:
            print(f"no benchmark '{name}'; there are: {', '.join(NAMES)}", file=sys.stderr)
            return 1
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
