"""The program that ``caffeonspark submit`` hands to spark-submit: in cluster mode it is copied to the driver's node."""

import sys

from caffeonspark.cli import main

if __name__ == "__main__":
    sys.exit(main())
