"""Files inside a net: a field that names a file for Caffe to open holds the file itself, as a ``data:`` URI (RFC 2397).

So a net goes to other machines as one message, and stays whole where its files are deleted. What reads such a field
finds the content in it (``prototxt.Files``); what builds the net puts it where Caffe can open it.
"""

from __future__ import annotations

import base64
from typing import Optional

__all__ = ["embed", "embedded", "shown"]

_PREFIX = "data:application/octet-stream;base64,"


def embed(content: bytes) -> str:
    """The value of the field."""
    return _PREFIX + base64.b64encode(content).decode()


def embedded(value: str) -> Optional[bytes]:
    """The content of the file that a field holds; None where it holds something else."""
    return base64.b64decode(value[len(_PREFIX) :]) if value.startswith(_PREFIX) else None


def shown(value: str) -> str:
    """What a field names, for people: the file, or that it is in the net itself."""
    return "(in the net itself)" if value.startswith(_PREFIX) else value
