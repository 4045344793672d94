"""Everything is in pyproject.toml but the license: no form of it there is taken by both Python 3.8's setuptools and
those that come after February 2027."""

from setuptools import setup

setup(license="Apache-2.0")
