"""Files that Caffe opens itself travel inside the net: what ranks train is what stock Caffe trains."""

import os
import pickle

import lmdb
import numpy as np
import pytest

from caffeonspark.api.config import Config
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.errors import ConfigError, DataError
from caffeonspark.nets.embedded import embed, embedded
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.nets.schema import BlobProto, Datum
from caffeonspark.plans.net_source import NetSource
from caffeonspark.runs.start_weights import find_start_weights
from tests.support import stock

BATCH, ITERATIONS = 4, 5
SOLVER = 'base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" max_iter: 5 random_seed: 3 '
LAYERS = stock.LAYERS.replace('"SoftmaxWithLoss"', '"InfogainLoss"').replace(
    'top: "loss" }', 'top: "loss" infogain_loss_param { source: "H.binaryproto" } }'
)
LAYERS = LAYERS.replace("pool: MAX", "pool: AVE")
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 1, 12, 12)).astype(np.uint8)
LABELS = np.arange(20) % 10


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lmdb"))
    with lmdb.open(folder) as db, db.begin(write=True) as t:
        for number, (image, label) in enumerate(zip(IMAGES, LABELS)):
            datum = Datum(channels=1, height=12, width=12, data=image.tobytes(), label=int(label))
            t.put(b"%04d" % number, datum.SerializeToString())
    return folder


def write_matrix(path, values=None):
    matrix = (np.eye(10) + np.random.default_rng(5).random((10, 10)) / 5).astype(np.float32)
    matrix = matrix if values is None else values
    blob = BlobProto(num=1, channels=1, height=matrix.shape[0], width=matrix.shape[1])
    blob.data.extend(matrix.ravel().tolist())
    path.write_bytes(blob.SerializeToString())


def config_of(folder, data, layers=LAYERS, solver=SOLVER, **flags):
    (folder / "net.prototxt").write_text(stock.lmdb_net(data, BATCH, test_batch=BATCH, layers=layers))
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt" {solver}')
    return Config(None, conf=str(folder / "solver.prototxt"), clusterSize=1, **flags)


def plan_of(config, phase=TRAIN):
    return NetSource(config, config.run_config.net(phase)).plan


def batch(at):
    rows = [(at * BATCH + k) % len(IMAGES) for k in range(BATCH)]
    return IMAGES[rows].astype(np.float32) * np.float32(stock.SCALE), LABELS[rows]


def train(config, plan, folder, weights=()):
    """The weights after some iterations of our trainer, which sees only what a rank gets."""
    plan = pickle.loads(pickle.dumps(plan))
    solver = type(config.solver).FromString(config.solver.SerializeToString())
    trainer = CaffeEngine().trainer(solver, plan.message(), [], 0, str(folder))
    for path in weights:
        trainer.load_weights(path)
    for iteration in range(ITERATIONS):

        def load(at=iteration):
            trainer.inputs["data"][...], trainer.inputs["label"][...] = batch(at)

        trainer.step(load, lambda loss: None)
    found = [array.copy() for array in trainer.weights]
    trainer.close()
    return found


def stock_train(layers, solver=SOLVER):
    made = stock.make_solver(solver, stock.input_net(BATCH, layers=layers))
    for iteration in range(ITERATIONS):
        stock.load(made.net, batch(iteration))
        made.step(1)
    return stock.weights(made.net)


def assert_equal(mine, theirs):
    for a, b in zip(mine, theirs):
        np.testing.assert_array_equal(a, b)


def test_an_infogain_matrix_goes_to_the_ranks(tmp_path, digits):
    write_matrix(tmp_path / "H.binaryproto")
    theirs = stock_train(LAYERS.replace("H.binaryproto", f"{tmp_path}/H.binaryproto"))
    config = config_of(tmp_path, digits)
    train_plan, test_plan = plan_of(config), plan_of(config, TEST)
    os.unlink(tmp_path / "H.binaryproto")  # ranks have no such file
    rank = tmp_path / "rank"
    rank.mkdir()
    assert_equal(train(config, train_plan, rank), theirs)
    assert not os.listdir(rank)
    model = tmp_path / "m.caffemodel"
    made = CaffeEngine().trainer(config.solver, train_plan.message(), [test_plan.message()], 0, str(rank))
    made.save_weights(str(model))
    test_net = made.test_net(0)
    predictor = CaffeEngine().predictor(test_plan.message(), str(model))
    for net in (test_net, predictor):
        net.blobs["data"][...], net.blobs["label"][...] = batch(0)
        net.forward()
    assert predictor.blobs["loss"] == test_net.blobs["loss"] != 0


def test_the_matrix_is_found_as_other_files_are(tmp_path, digits, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_matrix(elsewhere / "H.binaryproto")
    config = config_of(tmp_path, digits)
    with pytest.raises(ConfigError, match=r"net\.prototxt: layer 'loss': infogain_loss_param\.source H\.binaryproto"):
        plan_of(config)
    monkeypatch.chdir(elsewhere)
    content = (elsewhere / "H.binaryproto").read_bytes()
    (loss,) = [layer for layer in plan_of(config).message().layer if layer.type == "InfogainLoss"]
    assert embedded(loss.infogain_loss_param.source) == content
    uri = LAYERS.replace("H.binaryproto", f"file:{elsewhere}/H.binaryproto")
    assert plan_of(config_of(tmp_path, digits, uri)).content == plan_of(config).content


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((3, 10)), "is 1x1x3x10: it has to be a square matrix"),
        (np.full((10, 10), np.nan), "holds NaN or infinite values"),
        (np.ones((9, 9)), "Caffe refuses the net: .*"),
    ],
)
def test_a_matrix_that_is_none(tmp_path, digits, values, said):
    write_matrix(tmp_path / "H.binaryproto", values)
    with pytest.raises(ConfigError, match=f"net.prototxt.*{said}") as e:
        plan_of(config_of(tmp_path, digits))
    assert "\n" not in e.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff" * 40, "H.binaryproto is no binaryproto of Caffe's, or it is damaged or cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "H.binaryproto is .*git.lfs"),
    ],
)
def test_a_file_that_is_no_matrix(tmp_path, digits, content, said):
    (tmp_path / "H.binaryproto").write_bytes(content)
    with pytest.raises(DataError, match=f"(?i)net.prototxt.*{said}") as e:
        plan_of(config_of(tmp_path, digits))
    assert "\n" not in e.value.message


def test_no_matrix_at_all(tmp_path, digits):
    with pytest.raises(ConfigError, match=r"layer 'loss': infogain_loss_param\.source is missing: name "):
        plan_of(config_of(tmp_path, digits, LAYERS.replace('source: "H.binaryproto"', "")))


def test_a_file_in_a_field():
    content = bytes(range(256))
    assert embedded(embed(content)) == content and embedded("H.binaryproto") is None


OUTPUT = (
    'layer {{ name: "out" type: "HDF5Output" bottom: "ip2" bottom: "label" hdf5_output_param {{ file_name: "{}" }} }}'
)


def test_a_layer_that_writes_files(tmp_path, digits):
    """Stock Caffe ends at the second pass; looking at the net would empty a file that is there."""
    path = tmp_path / "out.h5"
    path.write_bytes(b"precious")
    layers = stock.LAYERS + OUTPUT.format(path)
    config = config_of(tmp_path, digits, layers)
    with pytest.raises(ConfigError, match=f"layer 'out': HDF5Output would write hdf5_output_param.file_name {path} on"):
        plan_of(config)
    NetSource(config, config.run_config.net(TEST)).for_blobs(["ip2"]).plan  # noqa: B018
    assert path.read_bytes() == b"precious"


# ---- the solver's weights


@pytest.fixture
def model(tmp_path):
    """Two models, each of other layers; training starts from both."""
    paths = []
    for number, layer in enumerate(("conv", "ip1")):
        settings = SOLVER.replace("random_seed: 3", f"random_seed: {number + 7}")
        renamed = stock.LAYERS
        for other in {"conv", "ip1", "ip2"} - {layer}:
            renamed = renamed.replace(f'name: "{other}"', f'name: "x_{other}"')
        made = stock.make_solver(settings, stock.input_net(BATCH, layers=renamed))
        paths.append(str(tmp_path / f"start{number}.caffemodel"))
        made.net.save(paths[-1])
    return paths


@pytest.mark.parametrize("form", ['weights: "{0}" weights: "{1}"', 'weights: "{0},{1}"'])
@pytest.mark.parametrize("relative", [False, True])
def test_the_solvers_weights_are_where_training_starts(tmp_path, digits, model, form, relative):
    theirs = stock_train(stock.LAYERS, SOLVER + form.format(*model))
    named = [os.path.basename(path) if relative else path for path in model]
    config = config_of(tmp_path, digits, stock.LAYERS, SOLVER + form.format(*named))
    found = find_start_weights(config.run_config)
    assert found == [f"file:{path}" for path in model] or found == model
    assert_equal(train(config, plan_of(config), tmp_path, model), theirs)


def test_the_flag_stands_for_the_solvers_weights(tmp_path, digits, model):
    config = config_of(tmp_path, digits, stock.LAYERS, SOLVER + 'weights: "nowhere.caffemodel"', weights=model[0])
    assert find_start_weights(config.run_config) in ([f"file:{model[0]}"], [model[0]])
    config.weights = ""
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/solver\.prototxt: weights: nowhere\.caffemodel does not"):
        find_start_weights(config.run_config)
