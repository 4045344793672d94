"""Everything is in pyproject.toml but two things.

The license: no form of it there is taken by both Python 3.8's setuptools and those that come after February 2027.
And the package's page: README.md links to files of the repository, which a package index does not have.
"""

import pathlib
import re

from setuptools import setup

README = pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8")


def page(readme: str) -> str:
    """README.md for a package index: pictures and links to files of the repository become the files' names."""
    text = re.sub(r"\[([^\]]+)\]\(\1\)", r"`\1`", readme)
    return re.sub(r"!?\[([^\]]+)\]\((?!https:)([^)]+)\)", r"\1 (`\2`)", text)


setup(license="Apache-2.0", long_description=page(README), long_description_content_type="text/markdown")
