"""Where the library's log lines go: loggers below ``caffeonspark``, and the handler that shows them on standard error.

Every module logs to ``logging.getLogger(__name__)``. Processes on executors install nothing: Python itself writes
warnings to their standard error.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["is_shown", "show", "show_unless_configured"]

_LOGGER = logging.getLogger("caffeonspark")


class _Lines(logging.Handler):
    """Writes each message to what is ``sys.stderr`` at the moment, above the bars that tqdm draws there."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text, stream = self.format(record), sys.stderr
            tqdm = sys.modules.get("tqdm")
            if tqdm is None:
                stream.write(text + "\n")
            else:
                tqdm.tqdm.write(text, file=stream)
            stream.flush()
        except Exception:
            self.handleError(record)


def show(level: int = logging.INFO) -> None:
    """Show the lines of this level and above on standard error."""
    for handler in _LOGGER.handlers:
        if isinstance(handler, _Lines):
            break
    else:
        handler = _Lines()
        _LOGGER.addHandler(handler)
        _LOGGER.propagate = False  # a handler of the root logger's would say all of it again
    handler.setLevel(level)
    if _LOGGER.level == logging.NOTSET:  # else the program has said what it wants to see
        _LOGGER.setLevel(logging.INFO)


def is_shown() -> bool:
    """Whether ``show`` shows the lines, and the program has no handler of its own for them."""
    return [type(handler) for handler in _LOGGER.handlers] == [_Lines]


def show_unless_configured() -> None:
    """Show the lines, unless the program that uses the library has said what to do with them."""
    if not (_LOGGER.handlers or logging.getLogger().handlers):
        show()
