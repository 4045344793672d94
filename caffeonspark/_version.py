"""The library's version, where building it, citing it and running it all read it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
