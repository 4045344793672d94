"""LMDBs that were cut or damaged: one error that names the LMDB, found by the driver or by a rank, and nothing else.

LMDB has no checksums, so bytes that change inside a value are another value. What must never be is a process that
ends, one that hangs, another cause, or records that are missing, doubled or moved.
"""

import os
import random
import shutil

import numpy as np
import pytest

from tests.support import damage
from tests.support.damage import PAGE
from tests.support.data_files import write_lmdb

pytestmark = pytest.mark.slow

COUNT = 300
ENDED = "signal"


@pytest.fixture(params=["on leaf pages", "on pages of their own"])
def healthy(request, tmp_path):
    """An LMDB of small or of large images, with pages that earlier transactions left behind."""
    size = 16 if request.param == "on leaf pages" else 70
    pixels = np.random.default_rng(size).integers(0, 256, (COUNT, 1, size, size)).astype(np.uint8)
    folder = write_lmdb(tmp_path / "healthy", pixels, [n % 10 for n in range(COUNT)])
    (folder / "lock.mdb").unlink()
    return folder


def changed_records(found, wanted):
    """Numbers of the records that differ; every one has to be there, once, in its place."""
    assert [record[0] for record in found] == [record[0] for record in wanted]
    return [number for number, (one, other) in enumerate(zip(found, wanted)) if one != other]


def judge(folder, wanted):
    """Who found the damage ("nobody" where all is as it was), the error, and whether LMDB itself ends its process."""
    found = damage.through_the_library(folder)
    assert ENDED not in found, found
    ends = ENDED in damage.through_lmdb(folder)
    if "error" in found:
        assert str(folder) in found["error"] or "record '" in found["error"], found
        assert "damaged" in found["error"] or "no LMDB" in found["error"] or "record '" in found["error"], found
        assert "\n" not in found["error"]
        return found["who"], found["error"], ends
    changed = changed_records(found["found"], wanted)
    assert len(changed) <= 8  # some_bytes changes no more
    return ("a value changed", "", ends) if changed else ("nobody", "", ends)


def test_cut_at_50_places(healthy, tmp_path):
    wanted = damage.through_the_library(healthy)["found"]
    whole = (healthy / "data.mdb").stat().st_size
    chance = random.Random(1)
    places = [0, 1, 16, 100, PAGE - 1, PAGE, 2 * PAGE - 1, 2 * PAGE, 3 * PAGE, whole - PAGE, whole - 1]
    places += [chance.randrange(whole) for _ in range(50 - len(places))]
    ended = 0
    for number, place in enumerate(places):
        folder = tmp_path / f"cut{number}"
        shutil.copytree(healthy, folder)
        os.truncate(folder / "data.mdb", place)
        who, error, ends = judge(folder, wanted)
        assert who == "driver", (place, who, error)
        assert "cut" in error or place <= 2 * PAGE
        ended += ends
        shutil.rmtree(folder)
    assert ended > 10  # LMDB's own reader


def whole_page(kind, data, page, chance):
    """A page with other contents."""
    if kind == "zeros":
        return bytes(PAGE)
    if kind == "noise":
        return chance.getrandbits(8 * PAGE).to_bytes(PAGE, "little")
    other = chance.randrange(2, len(data) // PAGE) * PAGE
    content = data[other : other + PAGE]
    # "moved": as a file system puts a block into another one's place; "renumbered": and it says that it belongs there
    return content if kind == "moved" else page.to_bytes(8, "little") + content[8:]


def some_bytes(data, page, chance):
    changed = bytearray(data[page * PAGE : (page + 1) * PAGE])
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(64 if chance.random() < 0.5 else PAGE)  # headers are small
        changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_200_damaged_pages(healthy, tmp_path):
    wanted = damage.through_the_library(healthy)["found"]
    data = (healthy / "data.mdb").read_bytes()
    pages = damage.page_kinds(data)
    chance = random.Random(2)
    found, ended = {}, 0
    for number in range(200):
        how = ["zeros", "noise", "moved", "renumbered", "flipped", "flipped", "flipped"][number % 7]
        few = [page for page, kind in pages.items() if kind in ("branch", "leaf")]
        page = chance.choice([0, 1]) if number % 10 == 9 else chance.choice(few if number % 2 else list(pages))
        content = some_bytes(data, page, chance) if how == "flipped" else whole_page(how, data, page, chance)
        if content == data[page * PAGE : (page + 1) * PAGE]:
            continue
        folder = tmp_path / "damaged"
        shutil.copytree(healthy, folder)
        (folder / "data.mdb").write_bytes(data[: page * PAGE] + content + data[(page + 1) * PAGE :])
        who, error, ends = judge(folder, wanted)
        kind = pages.get(page, "header")
        if how != "flipped" and kind in ("header", "branch", "leaf"):
            assert error, (number, how, page, kind, who)
        found[who] = found.get(who, 0) + 1
        ended += ends
        shutil.rmtree(folder)
    assert found["driver"] > 20
    assert sum(count for who, count in found.items() if who.startswith("rank")) > 20
    assert ended > 10  # LMDB's own reader
