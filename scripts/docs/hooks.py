"""What mkdocs does in addition to its own work: pages made from the code, of notebooks and of files at the root.

Nothing is written into the checkout. A page that is made here has its source in one place: the table of flags, the
classes of errors, the docstrings, the notebooks.
"""

from __future__ import annotations

import pathlib
import posixpath
import re
from typing import Any

import api_page
import errors_page
import flags_page
import imports_diagram
import notebook_pages
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
MADE = {"flags.md": flags_page.page, "errors.md": errors_page.page, "api.md": api_page.page}
#: Files outside docs/ that are pages of the site, too.
AT_ROOT = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "vulnerabilities.md",
    "prototxt/README.md": "included-nets.md",
    "data/README.md": "data-sets.md",
}
CODE, FLAG = re.compile(r"<code>([^<]*)</code>"), re.compile(r"(?<![^\s(])--?[A-Za-z][\w-]{0,24}(?![\w=.-])")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made here."""
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_pages.page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for path, name in AT_ROOT.items():
        files.append(File.generated(config, name, content=from_root((ROOT / path).read_text(encoding="utf-8"), path)))
    return files


def from_root(text: str, path: str) -> str:
    """A file's text with its links as they are from docs/; what is on no page is named without a link."""

    def link(found: Any) -> str:
        words, target, anchor = found.group(1), found.group(2), found.group(3) or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if place == "docs/notebooks":
            place = "docs/notebooks/README.md"
        name = AT_ROOT.get(place, place[len("docs/") :] if place.startswith("docs/") else "")
        return f"[{words}]({name}{anchor})" if name else words

    return LINK.sub(link, text)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The diagram in place of its sketch, and links between notebooks as links between their pages."""
    if page.file.src_uri == "architecture.md":
        sketch = re.compile(r"<!-- drawn by scripts/docs/imports_diagram\.py -->\n+```.*?```", re.S)
        assert sketch.search(markdown), "architecture.md has no sketch of the imports"
        return sketch.sub(lambda _: imports_diagram.svg(), markdown)
    if page.file.src_uri.startswith("notebooks/") and page.file.name == "index":
        return re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", markdown)
    return markdown


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Flags within sentences and tables with a class that keeps lines from ending behind their dash."""

    def kept(found: Any) -> str:
        return "<code>" + FLAG.sub(r'<span class="flag">\g<0></span>', found.group(1)) + "</code>"

    return CODE.sub(kept, html)
