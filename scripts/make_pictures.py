"""Make the pictures in docs/images: the page of a running job, its curve, a notebook's cell, a terminal.

They show a real run: LeNet on handwritten digits, on two executors of this machine, one of which loses its rank in the
middle. It takes two minutes, and needs a Chromium (scripts/install-chromium) and the site ("make docs"), whose page of
a notebook is one of the pictures.
"""

from __future__ import annotations

import html
import os
import pathlib
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "data")]

from make_digits import make_digits  # noqa: E402
from PIL import Image  # noqa: E402

from tests.support import browser, processes  # noqa: E402
from tests.support.screen import Screen  # noqa: E402

IMAGES = ROOT / "docs" / "images"
NOTEBOOK = ROOT / "build" / "site" / "notebooks" / "mnist.html"
LARGEST = 150_000  # bytes of a picture
WIDTH = 1280  # pixels of the page: its legends fit on one line
COLUMNS = 104
#: Spark's own log only where something is wrong, as in scripts/demo.
QUIET = """rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n%ex
"""
#: Lines that Spark writes before it reads that setting.
OF_SPARK = r"(\S+ )*(WARN|INFO) |WARNING: |Setting |To adjust |Using "
TERMINAL = """<body style="margin:0"><pre style="margin:0;padding:14px 18px;width:max-content;background:#1e1e1e;
color:#ddd;font:14px/1.45 'DejaVu Sans Mono',monospace">{}</pre>"""


def main() -> int:
    if browser.find() is None:
        print("make pictures: there is no Chromium: scripts/install-chromium", file=sys.stderr)
        return 1
    if not NOTEBOOK.exists():
        print(f"make pictures: {NOTEBOOK} is not there: make docs", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, browser.Browser(WIDTH) as tab:
        folder = pathlib.Path(name)
        picture_run(tab, folder)
        picture_notebook(tab)
    for path in sorted(IMAGES.glob("*.png")):
        shrink(path)
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} KB")
        if size > LARGEST:
            print(f"make pictures: {path.name} is larger than {LARGEST / 1000:.0f} KB", file=sys.stderr)
            return 1
    return 0


def shrink(path: pathlib.Path) -> None:
    """Write the picture with 256 colours: less than half of the bytes, and no difference to the eye."""
    image = Image.open(path).convert("RGB")
    # an octree keeps colours of few pixels, as legends have them; the default (median cut) mixes them with others
    image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


def picture_run(tab: browser.Browser, folder: pathlib.Path) -> None:
    """The page at the start, in the middle and at the end of a run; its curve; its terminal."""
    make_digits(str(folder))
    for path in (ROOT / "prototxt").glob("digits_lenet_*.prototxt"):
        text = path.read_text().replace("../data/", f"{folder}/").replace("max_iter: 1000", "max_iter: 600")
        text = text.replace("snapshot: 500", "snapshot: 200")
        (folder / path.name.replace("digits_", "")).write_text(text.replace("digits_lenet", "lenet"))
    (folder / "conf").mkdir()
    (folder / "conf" / "log4j2.properties").write_text(QUIET)
    os.environ["SPARK_CONF_DIR"] = str(folder / "conf")
    main = ROOT / "scripts" / "caffeonspark_main.py"
    flags = ["-train", "-web", "-conf", "lenet_solver.prototxt", "-model", "file:lenet.caffemodel", "-clusterSize", "2"]
    quiet = ["--conf", "spark.ui.enabled=false", "--conf", "spark.log.level=ERROR"]
    screen = Screen(["spark-submit", "--master", "local-cluster[2,1,1024]", *quiet, str(main), *flags], COLUMNS, folder)
    typed = f"$ spark-submit --master 'local-cluster[2,1,1024]' scripts/{main.name} {shlex.join(flags[:4])} \\\n"
    typed += f"    {shlex.join(flags[4:])}\n"
    try:
        screen.wait_for(r"the run's page: \S+", 240)
        tab.open(re.search(r"the run's page: (\S+)", screen.text).group(1))
        screen.wait_for(r"\| (1\d|2\d)/600, loss", 240)
        picture_page(tab, "page-start.png")
        screen.wait_for(r"saved \S+lenet_iter_200\.solverstate", 240)
        screen.wait_for(r"\| 2[2-9]\d/600", 240)
        os.kill(processes.ranks(screen.process.pid)[0], signal.SIGKILL)
        screen.wait_for(r"restart 1 of 3[\s\S]*\| 3[3-9]\d/600", 240)
        picture_page(tab, "page-middle.png")
        middle = typed + shown(screen.text)
        assert screen.wait(240) == 0, screen.text[-2000:]
        time.sleep(3)  # the page hears of the end
        picture_page(tab, "page-end.png")
    finally:
        if screen.process.poll() is None:
            os.killpg(screen.process.pid, signal.SIGKILL)
    shutil.copy(folder / "lenet.curve.png", IMAGES / "curve.png")
    page = folder / "terminal.html"
    page.write_text(TERMINAL.format(html.escape(middle.replace(f"{folder}/", ""))), encoding="utf-8")
    tab.open(page.as_uri())
    tab.screenshot(IMAGES / "terminal.png", within="document.querySelector('pre').getBoundingClientRect()")


def picture_page(tab: browser.Browser, name: str) -> None:
    time.sleep(1)
    tab.screenshot(IMAGES / name, whole=True)
    print(f"docs/images/{name}", flush=True)


def shown(text: str) -> str:
    """What a terminal shows of a text: of each line, what was written last from its beginning."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join(line for line in lines if line and not re.match(OF_SPARK, line))


def picture_notebook(tab: browser.Browser) -> None:
    """A cell of a notebook that trained, as the site shows it."""
    tab.open(NOTEBOOK.as_uri())
    tab.run("document.querySelector('.output progress').closest('.output').id = 'trained'")
    box = """(() => {
        const below = document.querySelector('#trained'), r = below.getBoundingClientRect();
        const top = below.previousElementSibling.previousElementSibling.getBoundingClientRect().top - 8;
        return new DOMRect(r.x - 12, top, r.width + 24, r.bottom - top + 8);
    })()"""
    tab.screenshot(IMAGES / "notebook.png", within=box)


if __name__ == "__main__":
    sys.exit(main())
