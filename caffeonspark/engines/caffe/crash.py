"""Why Caffe ended its process: glog's last words on standard error."""

from __future__ import annotations

import re
from typing import Sequence

__all__ = ["fatal_message"]

# F0131 12:34:56.123456  1234 net.cpp:123] Check failed: …     (newer versions write the year before month and day)
_FATAL = re.compile(r"F\d{4}[^\]]*\] (.*)")


def fatal_message(lines: Sequence[str]) -> str:
    """The words of a failed native CHECK in a log, "" where there is none."""
    for line in lines:
        match = _FATAL.match(line)
        if match:
            return match.group(1).strip()
    return ""
