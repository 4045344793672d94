"""What submit finds wrong on the machine it runs on, without a cluster or a Spark session."""

import lmdb
import numpy as np
import pytest

from caffeonspark.deploy.job_check import check_job
from caffeonspark.deploy.options import SubmitOptions
from caffeonspark.errors import ConfigError
from caffeonspark.nets.schema import Datum
from tests.support import stock

SOLVER = 'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 4 snapshot_prefix: "{0}/s" '


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lmdb"))
    with lmdb.open(folder) as db, db.begin(write=True) as t:
        for number in range(8):
            pixels = np.full((1, 12, 12), number, np.uint8).tobytes()
            datum = Datum(channels=1, height=12, width=12, data=pixels, label=number)
            t.put(b"%04d" % number, datum.SerializeToString())
    return folder


def look(folder, data, solver, **flags):
    (folder / "net.prototxt").write_text(stock.lmdb_net(data, 4))
    (folder / "solver.prototxt").write_text(solver.format(folder))
    values = {"conf": str(folder / "solver.prototxt"), "train": True, "model": f"{folder}/m.caffemodel", **flags}
    return check_job(None, values, SubmitOptions([]), False)


def test_a_sound_job(tmp_path, digits):
    found = look(tmp_path, digits, SOLVER)
    assert [plan.batch_size for plan in found.train] == [4] and not found.notes


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('type: "AdaGrad" momentum: 0.9', 'momentum does not go with type: "AdaGrad"'),
        ('weight_decay: 0.1 regularization_type: "L3"', "regularization_type is 'L3'"),
    ],
)
def test_a_solver_that_caffe_refuses(tmp_path, digits, more, said):
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/solver\.prototxt: {said}"):
        look(tmp_path, digits, SOLVER + more)


def test_notes(tmp_path, digits):
    found = look(tmp_path, digits, SOLVER.replace("base_lr: 0.01", ""))
    assert found.notes == [
        f"{tmp_path}/solver.prototxt: base_lr is missing and counts as 0: nothing is learned",
    ]


def test_a_state_of_another_type(tmp_path, digits):
    made = stock.make_solver(SOLVER.replace('net: "net.prototxt"', "").format(tmp_path), stock.input_net(4))
    made.step(1)
    made.snapshot()
    start = {"weights": f"{tmp_path}/s_iter_1.caffemodel", "snapshot": f"{tmp_path}/s_iter_1.solverstate"}
    assert not look(tmp_path, digits, SOLVER + 'type: "Nesterov" momentum: 0.9', **start).notes
    with pytest.raises(ConfigError, match=r"s_iter_1\.solverstate is of another solver type: it has one array"):
        look(tmp_path, digits, SOLVER + 'type: "Adam"', **start)


def test_files_that_caffe_opens_itself_are_sent_to_the_driver(tmp_path, digits):
    made = stock.make_solver(SOLVER.replace('net: "net.prototxt"', "").format(tmp_path), stock.input_net(4))
    made.net.save(str(tmp_path / "start.caffemodel"))
    found = look(tmp_path, digits, SOLVER + 'weights: "start.caffemodel"')
    assert found.read["start.caffemodel"] == f"{tmp_path}/start.caffemodel"
    assert found.notes == [f"weights of file:{tmp_path}/start.caffemodel: 3 layers taken (conv, ip1, ip2)"]
    with pytest.raises(ConfigError, match=r"solver\.prototxt: weights: nowhere\.h5 does not exist"):
        look(tmp_path, digits, SOLVER + 'weights: "nowhere.h5"')


def test_python_layers_are_looked_for_in_what_is_sent(tmp_path):
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "sent_layer.py").write_text("from tests.support.made import Numbers\n")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "Python" top: "data" top: "label" '
        'python_param { module: "sent_layer" layer: "Numbers" } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'
    )
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1')
    values = {"conf": str(tmp_path / "solver.prototxt"), "model": f"file:{tmp_path}/m", "train": True}
    with pytest.raises(
        ConfigError, match=r"layer 'd' \(Python\): there is no module 'sent_layer' on this machine: send"
    ):
        check_job(None, values, SubmitOptions([]), False)
    sent = SubmitOptions(["--py-files", f"{tmp_path}/sent/sent_layer.py"])
    assert check_job(None, values, sent, False).train[0].batch_size == 4
    del values["train"]
    with pytest.raises(
        ConfigError, match=r"layer 'd' \(Python\) makes the net's data, which has no end: say in the solver"
    ):
        check_job(None, {**values, "test": True, "model": ""}, sent, False)
