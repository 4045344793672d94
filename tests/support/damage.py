"""Damaged files: what is known of an LMDB's pages, and looking at files where a crash does no harm."""

import json
import os
import struct

import lmdb
from google.protobuf import text_format

from caffeonspark import Config
from caffeonspark.data.records import BadRecords
from caffeonspark.data.sources.datums import DatumSource
from caffeonspark.errors import DataError
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.schema import NetParameter
from caffeonspark.process import run_in_child

PAGE = 4096
KINDS = {1: "branch", 2: "leaf", 4: "overflow"}


def in_child(work, timeout=60):
    """What ``work()`` returns in a process of its own, or the signal that ended it: 9 where it hangs."""
    output, errors, status = run_in_child(lambda send: send(json.dumps(work()).encode()), timeout)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    assert status == 0, errors.decode(errors="replace")
    return json.loads(output)


def page_kinds(data):
    """What each page of an LMDB's file is: "branch", "leaf", "overflow", or "rest" of an overflow."""
    found, number = {}, 2
    while number * PAGE < len(data):
        own, _, flags, pages = struct.unpack_from("<QHHI", data, number * PAGE)
        kind = KINDS.get(flags & 0x2F) if own == number else None
        found[number] = kind
        for rest in range(number + 1, number + pages if kind == "overflow" else 0):
            found[rest] = "rest"
        number += pages if kind == "overflow" else 1
    return found


def through_lmdb(folder):
    """How many entries LMDB's own cursor finds, its error, or the signal that ends it."""

    def work():
        try:
            with lmdb.open(str(folder), readonly=True, lock=False, create=False) as env, env.begin() as transaction:
                return {"found": sum(len(bytes(value)) >= 0 for _, value in transaction.cursor())}
        except lmdb.Error as e:
            return {"error": str(e)}

    return in_child(work)


def lmdb_source(folder, more=""):
    """The source of a ``Data`` layer that names a database, not opened yet."""
    param = f'source: "{folder}" batch_size: 2 {more}'
    layer = f'name: "data" type: "Data" top: "data" top: "label" data_param {{ {param} }}'
    net = text_format.Parse(f"layer {{ {layer} }}", NetParameter())
    return DatumSource(Config(None).run_config.for_sources, Net(net, "net.prototxt", TRAIN), net.layer[0])


def span(count, rank, ranks):
    return rank * count // ranks, (rank + 1) * count // ranks


def records_of(reader, start, stop, step=1):
    """[id, pixels or file in hex, label] of each record."""
    found = []
    for records in reader.read(start, stop, step, BadRecords("the LMDB")):
        images, labels = records.columns
        for name, image, label in zip(records.ids, images, labels):
            found.append([name, (image if isinstance(image, bytes) else image.tobytes()).hex(), float(label)])
    return found


def through_the_library(folder, ranks=2):
    """The records that ranks find after the driver, or who found what wrong."""

    def work():
        who = "driver"
        try:
            source = lmdb_source(folder)
            source.open()
            found = []
            for rank in range(ranks):
                who = f"rank {rank}"
                found += records_of(source.reader(), *span(source.count(), rank, ranks))
            return {"found": found}
        except DataError as e:
            return {"error": e.message, "who": who}

    return in_child(work)
