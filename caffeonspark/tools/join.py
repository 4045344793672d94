"""``caffeonspark join``: this machine's ranks of a run without Spark that another one began."""

from .local import join_main as main

__all__ = ["main"]
