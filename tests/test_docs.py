"""README.md and the pages: their links lead somewhere, and their commands are run by tests, or marked as untried.

The convention: a block with commands has a comment before it,

    <!-- run by tests/one.py, tests/two.py -->      or      <!-- untried: no cluster there -->

and every command and flag of the block has to be found in those files, as a word. Files that a test runs (scripts/demo)
may stand behind it, and docs/yarn.md, whose commands tests/yarn runs as they stand.
"""

import posixpath
import re
import shlex
import subprocess

import pytest

from caffeonspark import errors
from caffeonspark.cli import COMMANDS
from caffeonspark.settings import FLAGS
from caffeonspark.tools.registry import TOOLS
from tests.support.paths import ROOT
from tests.test_architecture import ORDER

PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md", "prototxt/README.md", "docs/notebooks/README.md"]
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
OURS = ("caffeonspark", "spark-submit", "make", "scripts/", "python", "data/")
OTHERS = (
    "pip",
    "conda",
    "hdfs",
    "yarn",
    "caffe ",
    "eval",
    "export",
    "jq",
    "tensorboard",
    "docker",
    "kubectl",
    "ssh",
    "pre-commit",
)
MARK = re.compile(r"<!-- (?:run by (?P<files>[^>]+)|untried: (?P<reason>[^>]+)) -->")
NO_SHELL = ("python", "text", "toml", "json", "prototxt", "yaml")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text):
    """(the last line of text before it, the block) of each fenced or indented block that may hold commands."""
    lines = text.splitlines()
    number, last = 0, ""
    while number < len(lines):
        line = lines[number]
        fence = re.match(r"```(\w*)", line)
        start = number
        if fence:
            number += 1
            while not lines[number].startswith("```"):
                number += 1
            if fence.group(1) not in NO_SHELL:
                yield last, "\n".join(lines[start + 1 : number])
        elif line.startswith("    ") and (start == 0 or not lines[start - 1].strip()) and not in_list(lines, start):
            while number + 1 < len(lines) and (lines[number + 1].startswith("    ") or not lines[number + 1].strip()):
                number += 1
            yield last, "\n".join(one[4:] for one in lines[start : number + 1]).rstrip()
        elif line.strip():
            last = line.strip()
        number += 1


def in_list(lines, number):
    """Whether an indented line belongs to the item of a list above it."""
    above = next((line for line in reversed(lines[:number]) if line.strip() and not line.startswith(" ")), "")
    return bool(re.match(r"[-*] ", above))


def commands(block):
    """The command lines of a block, without what follows a #, continued lines in one."""
    joined = re.sub(r"\\\n\s*", " ", block)
    lines = [re.sub(r"(^|\s)#\s.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line.startswith(OURS + OTHERS) and not re.match(r"[\w/]+: ", line)]


def words_to_find(line):
    """The commands, programs and flags of a line that the tests have to use, too."""
    try:
        words = shlex.split(line.replace("…", ""))
    except ValueError:
        words = line.split()
    found = set()
    for number, word in enumerate(words):
        name = posixpath.basename(word)
        if (number == 0 or re.match(r"scripts/|data/\w+\.py", word)) and name != "with-env":
            found.add(name.rpartition(".py")[0] or name)
        elif re.match(r"--?[A-Za-z]", word) and not word.startswith("-D"):
            found.add(word.lstrip("-").partition("=")[0])
        elif words[number - 1] in ("caffeonspark", "make", "scripts/mini-hadoop"):
            found.add(word)
    return found - {"eval", "export", "spark-submit", "caffeonspark", "python", "make", "c", "conf", "master", "help"}


BLOCKS = [(page, before, block) for page in PAGES for before, block in blocks(read(page)) if commands(block)]


def test_there_are_commands():
    assert len(BLOCKS) > 30
    assert {page for page, _, _ in BLOCKS} >= {"README.md", "docs/yarn.md", "docs/train-lmdb.md", "docs/kubernetes.md"}


@pytest.mark.parametrize(("page", "before", "block"), BLOCKS, ids=lambda value: value.splitlines()[0][:40])
def test_commands_are_run_by_tests_or_marked(page, before, block):
    mark = MARK.fullmatch(before)
    assert mark, f"{page}: say before this block which tests run it, or <!-- untried: why -->:\n{block}"
    if mark["reason"]:
        return
    files = [ROOT / name.strip() for name in mark["files"].split(",")]
    missing = [str(file) for file in files if not file.is_file()]
    assert not missing
    assert re.match(r"tests/|\.ci/", mark["files"])
    assert all(
        re.match(r" ?(tests/|\.ci/|scripts/|Makefile$|docs/yarn\.md$)", name) for name in mark["files"].split(",")
    )
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for line in commands(block):
        unused = [word for word in words_to_find(line) if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
        assert not unused, f"{page}: {mark['files']} do not use {unused} of: {line}"


def test_commands_exist():
    """Also those within sentences."""
    targets = set(re.findall(r"(?m)^([\w-]+):", read("Makefile")))
    for page in PAGES:
        text = read(page)
        inline = re.findall(r"`([^`\n]+)`", text)
        for words in [*inline, *(line for _, block in blocks(text) for line in commands(block))]:
            if words.startswith("make "):
                assert set(words.split()[1:2]) <= targets, (page, words)
            for name in re.findall(r"(?:^|scripts/with-env )caffeonspark ([a-z]\w*|[A-Z]\w+2\w+)", words):
                assert name in {**COMMANDS, **TOOLS}, (page, words)


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.S)
    heads = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", head).lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "SECURITY.md"])
def test_links_resolve(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", read(page), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        assert (ROOT / place).exists(), (page, target)
        assert not anchor or anchor in anchors(place), (page, target)


def test_every_page_is_in_the_navigation():
    config = read("mkdocs.yml")
    for path in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"(?m)[-:] {re.escape(path.name)}$", config), f"mkdocs.yml has no line for docs/{path.name}"


def test_the_sketch_of_the_imports_has_the_order():
    """Of docs/architecture.md, from below; the site draws it from the imports."""
    (sketch,) = re.findall(r"imports_diagram\.py -->\n```\n(.*?)```", read("docs/architecture.md"), re.S)
    rows = [re.findall(r"[a-z_]+", re.sub(r"\(.*", "", line)) for line in reversed(sketch.splitlines())]
    rows = [row for row in rows if row]
    assert {name for row in rows for name in row} == set(ORDER) - {"_version", "estimator"}
    highest = [max(ORDER.index(name) for name in row) for row in rows]
    for row, below in zip(rows[1:], highest):
        assert min(ORDER.index(name) for name in row) > below, row


def test_debugging_names_every_class_that_says_what_can_help():
    page = read("docs/debug.md")
    for cls in errors.CaffeOnSparkError.__subclasses__():
        if cls.__module__ == errors.__name__:
            (row,) = re.findall(rf"(?m)^\| `{cls.__name__}` \|.*$", page)
            assert ("is not made" in row) != cls.retryable


@pytest.fixture(scope="module")
def site():
    """The site, built as "make docs" does; it needs the package index, once."""
    done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return ROOT / "build" / "site"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_site_is_whole_and_asks_nobody(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    for name in [*list(FLAGS)[:5], "CaffeClassifier", "RankLost", "Handwritten digits"]:
        assert name in index
    for path in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", path.read_text(encoding="utf-8")):
            assert not re.search(r'(?:src|href)="?(?:https?:)?//', tag) or 'rel="canonical"' in tag, (path, tag)
    errors_page = (site / "errors.html").read_text(encoding="utf-8")
    for cls in errors.CaffeOnSparkError.__subclasses__():
        assert cls.__name__ in errors_page or cls.__module__ != errors.__name__
    assert "<svg" in (site / "architecture.html").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_search_without_a_server(site):
    from tests.support import browser

    if browser.find() is None:
        pytest.skip("no Chromium is installed: scripts/install-chromium installs it")
    with browser.Browser() as tab:
        tab.open((site / "index.html").as_uri() + "?q=syncInterval")
        tab.wait_for("document.querySelectorAll('.md-search-result__item').length > 0")
        assert "flags" in tab.run("[...document.querySelectorAll('.md-search-result__link')].map(a => a.href).join()")
        assert not tab.complaints()
