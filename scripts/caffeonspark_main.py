#!/usr/bin/env python3
"""The program for spark-submit: ``spark-submit [spark options] scripts/caffeonspark_main.py FLAGS`` (see -help)."""

import sys

from caffeonspark.cli import main

if __name__ == "__main__":
    sys.exit(main())
