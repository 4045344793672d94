"""A rank's records: which are used, how many there were, and where loading is."""

import h5py
import numpy as np

from caffeonspark import BadRecords, Config
from caffeonspark.plans.job import Job, ResumePoint, ValidationPlan
from caffeonspark.plans.net_source import NetSource
from caffeonspark.ranks.records import load_records
from tests.support.prototxts import PHASES, SOLVER

NET = (
    f'layer {{ name: "d" type: "HDF5Data" top: "x" top: "y" {PHASES} '
    'hdf5_data_param { source: "list.txt" batch_size: 8 } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 4 } }\n'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }\n'
)


def test_skipped_records(tmp_path):
    x, y = np.zeros((600, 3)), np.zeros(600)
    x[10, 1], y[20], y[301] = np.nan, 4, -1
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["x"], f["y"] = x, y
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER.format(iterations=10) + " test_interval: 5")
    configured = Config(None, conf=str(tmp_path / "solver.prototxt"), badRecords="skip", clusterSize=2)
    config = configured.run_config
    train, test = (NetSource(configured, net).plan for net in (config.nets.train, *config.validation_nets))
    job = Job(2, b"", train, (ValidationPlan(test, None),), 1, ResumePoint(), ("", 1), None, config.settings)
    places, seen = [], []
    for rank in range(2):
        bad = [BadRecords(layer.description, layer.bad) for layer in job.layers()]
        stores, totals = load_records(job, rank, [], bad, lambda: None, lambda *place: places.append(place))
        assert totals == [300, 300]
        seen.append([list(map(int, store.indices)) for store in stores])
        for store in stores:
            store.close()
    good = [number for number in range(600) if number not in (10, 20, 301)]
    assert [number for rank in seen for number in rank[0]] == good
    assert sorted(number for rank in seen for number in rank[1]) == good
    assert places[:6] == [(0, 0), (0, 256), (0, 300), (1, 0), (1, 256), (1, 300)]
