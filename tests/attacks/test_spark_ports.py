"""A stranger with full access to Spark's own ports, where Spark authenticates and where it does not."""

import contextlib
import hashlib
import json
import os
import time
import urllib.error
import urllib.request

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
ITERATIONS, LATE = 20, 100
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


def joins_as_executor(port, application, ui):
    """Whether Spark's own executor program, started by a stranger, becomes one of the application's."""
    stranger = spark_stranger.StrangeExecutor(port, application)
    try:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and stranger.process.poll() is None:
            where = f"{ui}/api/v1/applications/{application}/allexecutors"
            if "77" in [one["id"] for one in json.load(urllib.request.urlopen(where, timeout=20))]:
                return True
            time.sleep(0.5)
        return False
    finally:
        print("the stranger's executor:", stranger.close()[-1500:])


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(300)
@pytest.mark.parametrize("authenticate", [False, True], ids=["open", "authenticated"])
def test_what_a_stranger_can_do(small_images, tmp_path, authenticate):
    (tmp_path / "events").mkdir()
    ui, rpc = LOW + 15, LOW + 16
    driver = Victim(
        "local-cluster[2,2,1024]",
        f"spark.executorEnv.PYTHONPATH={ROOT}",
        f"spark.authenticate={str(authenticate).lower()}",
        *(["spark.authenticate.secret=of the tests"] if authenticate else []),
        "spark.eventLog.enabled=true",
        f"spark.eventLog.dir=file:{tmp_path}/events",
        "spark.ui.enabled=true",
        f"spark.ui.port={ui}",
        f"spark.driver.port={rpc}",
        program="attacked_program",
    )
    seen = {}
    try:
        application, jvm = driver.application, spark_stranger.driver_jvm(driver.process.pid)
        driver.order(make_folder(tmp_path, small_images, encrypt="true" if authenticate else "anyway"))
        told = driver.wait_for("ranks_secret")
        (attempt,) = [event for event in told if "secret" in event]
        bootstrap = bytes.fromhex(attempt["secret"])
        secrets = [bootstrap, bytes.fromhex(told[-1]["ranks_secret"])]
        deadline = time.monotonic() + 60
        while len(processes.ranks(driver.process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)  # two ranks are there, and the third waits

        # who reaches the block managers
        ports = [port for port in spark_stranger.listening(jvm) if port != ui]
        found = blocks(ports, application)
        contents = [*found.values(), *map(spark_stranger.unpacked, found.values())]
        seen["the function that ranks run"] = any(b"run_rank" in content for content in contents)
        seen["secrets in blocks"] = sum(shows(content, secret) for content in contents for secret in secrets)
        print(f"{sorted(found)} of {ports}, {sum(map(len, contents))} bytes")

        # who asks the driver for the files that executors run
        archive = library_zip._archive()
        name = f"caffeonspark-{hashlib.sha256(archive).hexdigest()[:12]}.zip"
        with contextlib.suppress(OSError):
            seen["the library"] = spark_stranger.fetch_file(rpc, f"/files/{name}") == archive

        # who reads what Spark shows and writes of the job, with the secret among its properties
        pages = web_pages(f"http://127.0.0.1:{ui}", application)
        seen["pages"] = len(pages) > 10
        seen["secrets on pages"] = [page for page, text in pages.items() if any(shows(text, one) for one in secrets)]
        seen["hidden in the event log"] = f'"{SECRET_PROPERTY}":"*********(redacted)"' in event_log(tmp_path / "events")

        # who has the bootstrap all the same takes the place of the rank that comes late
        thief = Invitation(bytes.fromhex(attempt["nonce"]), bytes.fromhex(attempt["driver"]), True).accept(bootstrap)
        with dial(("127.0.0.1", LOW), thief, 2, DRIVER, 5).sock:
            (tmp_path / "slow").unlink()
            events = driver.wait_for("over")
        notes = [event["note"] for event in events if "note" in event]
        start = "rank 2 of 3 was claimed twice, from 127.0.0.1 and from 127.0.0.1: somebody knows this attempt's secret"
        claimed = [note for note in notes if note.startswith(start) and "restart 1 of 3" in note]
        seen["found out"] = len(claimed)
        seen["the end"] = [event for event in events if "finished" in event]
        seen["refusals told"] = any("refused by the driver" in note for note in notes)
        seen["secrets in the event log"] = [shows(event_log(tmp_path / "events"), one) for one in secrets]
        print(notes)

        # who has Spark's executor program, and the driver's address
        seen["an executor"] = joins_as_executor(rpc, application, f"http://127.0.0.1:{ui}")
    finally:
        driver.close()
        print(seen)
    ended = {"finished": ITERATIONS, "restarts": 1, "stopped": "", "losses": ITERATIONS}
    assert seen == {
        "the function that ranks run": not authenticate,
        "an executor": not authenticate,
        "the library": True,  # Spark serves files before it asks who it is
        "secrets in blocks": 0,
        "pages": True,
        "secrets on pages": [],
        "hidden in the event log": True,
        "secrets in the event log": [False, False],
        "found out": 1,
        "refusals told": True,
        "the end": [ended],
    }
