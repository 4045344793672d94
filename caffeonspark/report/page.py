"""The page that shows a run: the live one, and the one that is left next to the model. It needs nothing but itself."""

from __future__ import annotations

import base64
import functools
import hashlib
import pkgutil

__all__ = ["page_html", "security_policy"]


def page_html(state: str) -> str:
    """The page with a state as JSON (``RunState.page``) in it."""
    # JSON in a script element: nothing in it may end the element
    safe = state.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return _part("html").replace("{style}", _part("css")).replace("{script}", _part("js")).replace("{state}", safe)


@functools.lru_cache(maxsize=None)
def security_policy() -> str:
    """The Content-Security-Policy the page works with: its own script and style, and the server it came from."""
    script = base64.b64encode(hashlib.sha256(_part("js").encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@functools.lru_cache(maxsize=None)
def _part(kind: str) -> str:
    content = pkgutil.get_data("caffeonspark.report", f"page.{kind}")  # from a folder or an archive
    assert content is not None
    return content.decode()
