"""A saved notebook as a page: its text, its code, and the outputs that are saved in it."""

from __future__ import annotations

import base64
import html
import json
import pathlib
import re
from typing import Any, Dict, List, Tuple


def page(path: pathlib.Path) -> Tuple[str, Dict[str, bytes]]:
    """(the page's text, its pictures by name)."""
    lines: List[str] = []
    pictures: Dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [source, ""]
        elif cell["cell_type"] == "code":
            lines += ["```python", source, "```", ""]
            for output in cell["outputs"]:
                lines += _output(output, path.stem, pictures)
    head, _, rest = "\n".join(lines).partition("\n")
    said = (
        f"This is [{path.name}]({path.name}) as it is saved in the repository. To run it, see [notebooks](README.md)."
    )
    return f"{head}\n\n{said}\n{rest}", pictures


def _output(output: Dict[str, Any], stem: str, pictures: Dict[str, bytes]) -> List[str]:
    """The lines of one output: its picture, else its HTML, else its text."""
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return [f"![output]({name})", ""]
    if "text/html" in data:
        shown = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.S)
        shown = re.sub(r"\n\s*", "", shown)
    else:
        shown = f"<pre>{html.escape(''.join(data.get('text/plain', output.get('text', ''))).rstrip())}</pre>"
    return [f'<div class="output">{shown}</div>', ""]
