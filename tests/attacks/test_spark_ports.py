"""A stranger with full access to Spark's own ports, where Spark authenticates and where it does not."""

import contextlib
import hashlib
import json
import os
import pathlib
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from caffeonspark.comm.credentials import DRIVER, Invitation
from caffeonspark.comm.handshake import dial
from caffeonspark.launchers.spark_barrier import SECRET_PROPERTY
from caffeonspark.spark import library_zip
from tests.support import processes, spark_stranger, stock
from tests.support.data_files import write_lmdb
from tests.support.paths import ROOT
from tests.support.victim import Victim

LOW = 21_000 + os.getpid() % 400 * 20
ITERATIONS, LATE = 20, 30
PAGES = ("jobs/", "stages/", "environment/", "executors/", "SQL/", "jobs/job/?id=0", "stages/stage/?id=0&attempt=0")
REST = ("environment", "jobs", "stages?details=true", "allexecutors", "sql?details=true", "storage/rdd")


def make_folder(folder, images, **flags):
    """A run of three ranks whose last one comes late."""
    write_lmdb(folder / "lmdb", *images)
    layer = (
        'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" source_class: "{}" '
        'memory_data_param {{ source: "{}/lmdb" batch_size: 8 channels: 1 height: 12 width: 12 }} }}\n'
    )
    (folder / "net.prototxt").write_text(layer.format("tests.support.slow_source.SlowLMDB", folder) + stock.LAYERS)
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.0001 lr_policy: "fixed" random_seed: 3 '
        f'max_iter: {ITERATIONS} snapshot_prefix: "run"'
    )
    (folder / "slow").write_text(str(LATE))
    model = f"file:{folder}/model.caffemodel"
    return {
        "conf": str(folder / "solver.prototxt"),
        "model": model,
        "clusterSize": 3,
        "port": f"{LOW}-{LOW + 9}",
        **flags,
    }


def blocks(ports, application):
    """Every broadcast block that a port gives away, by its name and port."""
    found = {}
    for port in ports:
        missing = 0
        for number in range(60):
            try:
                found[port, number] = spark_stranger.fetch_block(port, application, f"broadcast_{number}_piece0")
            except ConnectionError:  # no such block, or no word to strangers
                missing += 1
                if missing > 5 and not any(where == port for where, _ in found):
                    break
            except OSError:  # another protocol: no answer in time
                break
    return found


def web_pages(address, application):
    """The text of Spark's pages and of what its REST interface says."""
    texts = {}
    for page in [*PAGES, *(f"api/v1/applications/{application}/{what}" for what in REST)]:
        with contextlib.suppress(urllib.error.HTTPError):
            texts[page] = urllib.request.urlopen(f"{address}/{page}", timeout=20).read().decode()
    return texts


def event_log(folder):
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def shows(text, secret):
    """Whether a secret can be read in bytes or text, as it is or in hexadecimal digits."""
    data = text.encode() if isinstance(text, str) else text
    return secret in data or secret.hex().encode() in data.lower()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(300)
@pytest.mark.parametrize("authenticate", [False, True], ids=["open", "authenticated"])
def test_what_a_stranger_can_do(small_images, tmp_path, authenticate):
    (tmp_path / "events").mkdir()
    ui = LOW + 15
    driver = Victim(
        "local-cluster[2,2,1024]",
        f"spark.executorEnv.PYTHONPATH={ROOT}",
        f"spark.authenticate={str(authenticate).lower()}",
        *(["spark.authenticate.secret=of the tests"] if authenticate else []),
        "spark.eventLog.enabled=true",
        f"spark.eventLog.dir=file:{tmp_path}/events",
        "spark.ui.enabled=true",
        f"spark.ui.port={ui}",
        program="attacked_program",
    )
    stranger = None
    try:
        application, jvm = driver.application, spark_stranger.driver_jvm(driver.process.pid)
        flags = make_folder(tmp_path, small_images, encrypt="true" if authenticate else "anyway")
        driver.order(flags)
        told = driver.wait_for("ranks_secret")
        (attempt,) = [event for event in told if "secret" in event]
        bootstrap = bytes.fromhex(attempt["secret"])
        secrets = [bootstrap, bytes.fromhex(told[-1]["ranks_secret"])]
        deadline = time.monotonic() + 60
        while len(processes.ranks(driver.process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)  # two ranks are there, and the third waits

        # who reaches the block managers has what tasks run, but not what lets a rank in
        ports = [port for port in spark_stranger.listening(jvm) if port != ui]
        begin = time.monotonic()
        found = blocks(ports, application)
        print(f"{len(found)} blocks from {ports} in {time.monotonic() - begin:.1f} s")
        assert bool(found) == (not authenticate)
        assert any(b"caffeonspark" in block for block in found.values()) == (not authenticate)
        assert not any(shows(block, secret) for block in found.values() for secret in secrets)

        # and the library's code
        name = f"caffeonspark-{hashlib.sha256(library_zip._archive()).hexdigest()[:12]}.zip"
        archives = []
        for port in ports:
            with contextlib.suppress(OSError):
                archives.append(spark_stranger.fetch_file(port, f"/files/{name}"))
        assert (library_zip._archive() in archives) == (not authenticate)

        # what Spark shows and writes of the job does not tell the secret, which is among the properties
        pages = web_pages(f"http://127.0.0.1:{ui}", application)
        assert len(pages) > 10
        assert not [page for page, text in pages.items() for secret in secrets if shows(text, secret)]
        log = event_log(tmp_path / "events")
        assert f'"{SECRET_PROPERTY}":"*********(redacted)"' in log
        assert not any(shows(log, secret) for secret in secrets)

        # who has the bootstrap all the same takes the place of the rank that comes late, and is found out
        thief = Invitation(bytes.fromhex(attempt["nonce"]), bytes.fromhex(attempt["driver"])).accept(bootstrap)
        with dial(("127.0.0.1", LOW), thief, 2, DRIVER, 5).sock:
            (tmp_path / "slow").unlink()
            events = driver.wait_for("over")
        notes = [event["note"] for event in events if "note" in event]
        claimed = [note for note in notes if "rank 2 of 3 was claimed twice, from 127.0.0.1 and from" in note]
        assert len(claimed) == 1, notes
        assert "restart 1 of 3" in claimed[0]
        assert {"finished": ITERATIONS, "restarts": 1, "stopped": "", "losses": ITERATIONS} in events
        log = event_log(tmp_path / "events")
        assert not any(shows(log, secret) for secret in secrets)

        # where Spark does not authenticate, the stranger becomes an executor: nothing of ours can keep it out
        joined = False
        for port in ports:
            stranger = spark_stranger.StrangeExecutor(port, application)
            stranger.ended_within(15)
            where = f"http://127.0.0.1:{ui}/api/v1/applications/{application}/allexecutors"
            executors = [one["id"] for one in json.load(urllib.request.urlopen(where, timeout=20))]
            joined |= "77" in executors
            said, stranger = stranger.close(), None
            print(f"port {port}: executors {executors}; {said[-300:]}")
            if joined:
                break
        assert joined == (not authenticate)
    finally:
        if stranger is not None:
            stranger.close()
        driver.close()
    for path in tmp_path.rglob("*.caffemodel"):
        assert np.all([np.isfinite(array).all() for array in stock.load_weights(str(path), stock.input_net(8))])
    assert pathlib.Path(flags["model"].replace("file:", "")).exists()
