"""A rank that dies twice at the same place ends the run, and its batch is named."""

import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, DataSource, NumberTop, Records
from caffeonspark.data.batches import Batches, BatchRandom
from caffeonspark.data.store import RecordStore
from caffeonspark.errors import HelperLost, RankLost, TrainingError, to_wire
from caffeonspark.plans.job import Suspect
from caffeonspark.process import fork, reap
from caffeonspark.ranks.sidecar import DriverConnection
from caffeonspark.ranks.suspects import watch_suspect
from caffeonspark.ranks.whereabouts import Whereabouts
from caffeonspark.runs.deaths import Deaths
from caffeonspark.runs.rank_server import Event, RankServer
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.guard import WAIT, everyone
from tests.support.paths import ROOT
from tests.support.prototxts import SOLVER

LOST = RankLost("rank 1 of 2 on b: its process ended without a message")


def attempt(*events, batch=""):
    return SimpleNamespace(
        failures=[(float(n), event) for n, event in enumerate(events)],
        ranks=2,
        result=SimpleNamespace(hosts={1: "b"}),
        suspect_batch=batch,
    )


def died(rank, at):
    return Event(rank, "died", {"log": [], "at": at})


def test_the_second_identical_death():
    deaths = Deaths()
    deaths.check(attempt(died(1, [57, 0, 0])), LOST)
    assert deaths.suspect == Suspect(1, 57, 0, 0)
    deaths.check(attempt(died(1, None)), LOST)  # not in a batch
    deaths.check(attempt(died(1, [58, 0, 0])), LOST)
    deaths.check(attempt(died(0, [57, 0, 0]), died(1, [60, 0, 0])), LOST)
    deaths.check(attempt(Event(1, "lost", {"why": "gone"})), LOST)
    assert deaths.suspect == Suspect(0, 57, 0, 0)
    with pytest.raises(
        TrainingError, match=r"rank 0 of 2 .* second time at iteration 57, at its batch \(d: 'a' to 'c'\)"
    ):
        deaths.check(attempt(died(0, [57, 0, 0]), batch="d: 'a' to 'c'"), LOST)
    with pytest.raises(
        TrainingError,
        match=r"rank 1 of 2 on b: .* 58, at its batch: something in the records ends .* or it takes more memory",
    ):
        deaths.check(attempt(died(1, [58, 0, 0]), batch="of another rank"), LOST)


def test_in_a_validation():
    deaths = Deaths()
    deaths.check(attempt(died(1, [50, 2, 6])), LOST)
    with pytest.raises(TrainingError, match="iteration 50, at batch 7 of a validation of test net 1"):
        deaths.check(attempt(died(1, [50, 2, 6])), LOST)


def test_while_loading():
    deaths = Deaths()
    one = attempt(died(1, [-1, 0, 512]))
    one.layers = [SimpleNamespace(description="layer 'd': an LMDB")]
    deaths.check(one, LOST)
    with pytest.raises(
        TrainingError, match="a second time while it loaded records of layer 'd': an LMDB, after the first 512"
    ):
        deaths.check(one, LOST)


def test_a_helper_at_the_same_record():
    def lost(record):
        return attempt(Event(1, "failed", to_wire(HelperLost(f"d: a decoder process ended at record '{record}'"))))

    deaths = Deaths()
    deaths.check(lost("a"), LOST)
    deaths.check(lost("b"), LOST)
    with pytest.raises(TrainingError, match="it did so before"):
        deaths.check(lost("a"), LOST)


def test_the_sidecar_tells_where_a_rank_was(tmp_path):
    credentials = everyone()
    with RankServer("127.0.0.1", (0, 0), credentials, 2, str(tmp_path)) as server:
        for rank, place in enumerate(([57, 0, 0], None)):

            def run(rank=rank, place=place):
                connection = DriverConnection.open(server.address, credentials, rank)
                connection.whereabouts.enter(*(place or [3, 0, 0]))
                if place is None:
                    connection.whereabouts.leave()
                os.kill(os.getpid(), signal.SIGSEGV)

            reap(fork(run, []))
            event = server.events.get(timeout=WAIT)
            while event.kind != "died":  # the line of the one before breaks
                event = server.events.get(timeout=WAIT)
            assert (event.rank, event.kind, event.data["at"]) == (rank, "died", place)


def test_a_rank_that_was_called_off_died_nowhere(tmp_path):
    """It had to be killed in the middle of a batch; that says nothing about what is in it."""
    credentials = everyone()
    with RankServer("127.0.0.1", (0, 0), credentials, 1, str(tmp_path)) as server:

        def run():
            connection = DriverConnection.open(server.address, credentials, 0)
            connection.whereabouts.enter(57)
            connection.send("hello")
            time.sleep(WAIT)  # in native code: it does not hear that it is called off

        child = fork(run, [])
        assert server.events.get(timeout=WAIT).kind == "hello"
        server.send_all("abort", reason="another rank failed")
        event = server.events.get(timeout=WAIT)
        reap(child)
        assert (event.kind, event.data["at"]) == ("died", None)


def test_the_suspect_names_its_batch(tmp_path):
    store = RecordStore([NumberTop("x", ())], str(tmp_path), keep_ids=True)
    store.append(Records(list("abcdefg"), [np.zeros(7, np.float32)], np.arange(7)))
    store.finish()
    batches = Batches(store, 3, BatchRandom(1, 0, 0), shuffle=False, name="d")
    layer = SimpleNamespace(description="d")
    job = SimpleNamespace(
        suspect=Suspect(1, 1, 0, 0),
        train=SimpleNamespace(layers=[layer]),
        layers=lambda: [layer, layer],
        validation_layers=lambda: [(SimpleNamespace(net=SimpleNamespace(layers=[layer])), 1)],
    )
    said = []
    connection = SimpleNamespace(whereabouts=Whereabouts(), send=lambda kind, **data: said.append(data["batch"]))
    watch_suspect(job, 0, connection, [store, store], [batches])  # another rank
    connection.whereabouts.enter(1)
    assert said == []
    watch_suspect(job, 1, connection, [store, store], [batches])
    for batch in range(3):
        batches.used = batch
        connection.whereabouts.enter(batch)
    assert said == ["d: 3 records, 'd' to 'f'"]
    job.suspect = Suspect(1, 1, 1, 2)
    watch_suspect(job, 1, connection, [store, store], [batches])
    connection.whereabouts.enter(1, 1, 2, [np.array([6, 0])])
    assert said[1:] == ["d: 2 records, 'g' to 'a'"]


def test_a_poison_record(spark, tmp_path, small_images):
    """Its rank is killed as by native code, without a word: at the second time the run ends and names the batch."""
    images, labels = small_images[0][:80].copy(), small_images[1][:80]
    images[60, 0, 0, 0] = 251
    images[images == 251] = 250
    images[60, 0, 0, 0] = 251
    write_lmdb(tmp_path / "lmdb", images, labels)
    spark.sparkContext.addPyFile(str(ROOT / "tests" / "support" / "poison_source.py"))
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "poison_source.PoisonLMDB" '
        f'memory_data_param {{ source: "{tmp_path}/lmdb" batch_size: 8 channels: 1 height: 12 width: 12 }} }}\n'
        + stock.LAYERS
    )
    (tmp_path / "solver.prototxt").write_text(SOLVER.format(iterations=50))
    config = Config(
        spark,
        conf=str(tmp_path / "solver.prototxt"),
        model=f"file:{tmp_path}/m.caffemodel",
        quiet=True,
        clusterSize=2,
    )
    cos = CaffeOnSpark(spark)
    with pytest.raises(TrainingError) as raised:
        cos.train(DataSource(spark).getSource(config, True))
    # rank 1 has the records 40 to 79; the poison is in its third batch
    message = raised.value.message
    assert "rank 1 of 2" in message and "a second time at iteration 2, at its batch (" in message
    assert "8 records, '00000056' to '00000063')" in message
    assert cos.result is None or cos.result.restarts == 1
