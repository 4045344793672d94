"""The nets in prototxt/: they parse, name their data by paths that lead to it, and stock Caffe builds them."""

import math
import pathlib

import pytest

from caffeonspark import Config
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.nets.net import TEST, TRAIN
from tests.support import stock
from tests.support.paths import ROOT

PROTOTXT = ROOT / "prototxt"
SOLVERS = sorted(path.name for path in PROTOTXT.glob("*_solver*.prototxt"))
NETS = sorted(path.name for path in PROTOTXT.glob("*_train_test.prototxt"))
LENETS = [name for name in NETS if name.startswith(("lenet", "digits_lenet"))]


def dense(*sizes):
    """The number of parameters of fully connected layers from size to size."""
    return sum((before + 1) * after for before, after in zip(sizes, sizes[1:]))


# by the beginning of a file's name: the shape of an image after the crop, and the size of the test set
DATA = {
    "caffenet": ((3, 227, 227), 50_000),
    "cifar10": ((3, 32, 32), 10_000),
    "digits": ((1, 28, 28), 360),
    "googlenet": ((3, 224, 224), 50_000),
    "lenet": ((1, 28, 28), 10_000),
    "mnist": ((1, 28, 28), 10_000),
}
PARAMETERS = {
    "caffenet_train_test.prototxt": 60_965_224,
    "cifar10_full_train_test.prototxt": 89_578,
    "cifar10_quick_train_test.prototxt": 145_578,
    "googlenet_train_test.prototxt": 6_998_552 + 6_379_728,  # with the auxiliary classifiers
    "mnist_autoencoder_train_test.prototxt": dense(784, 1000, 500, 250, 30, 250, 500, 1000, 784),
    "mnist_mlp_train_test.prototxt": dense(784, 500, 300, 10),
    **dict.fromkeys(LENETS, 431_080),
}


def load(solver):
    return Config(None, conf=str(PROTOTXT / solver))


def nets_of(name):
    """The nets of a solver that trains the net of this name."""
    return next(config.nets for config in map(load, SOLVERS) if config.solver.net == name)


def data_of(path):
    return next(data for start, data in DATA.items() if pathlib.Path(path).name.startswith(start))


def input_shapes(net, extra=0):
    """What NetSource finds out from the data: the shapes of each data layer's tops, for batches ``extra`` larger."""
    image, _ = data_of(net.path)
    shapes = {}
    for layer in net.data_layers():
        field = {"Data": "data_param", "MemoryData": "memory_data_param", "CoSData": "cos_data_param"}[layer.type]
        batch = getattr(layer, field).batch_size + extra
        shapes[layer.name] = list(zip(layer.top, ((batch, *image), (batch,))))
    return shapes


def test_every_file_is_known():
    assert {path.name for path in PROTOTXT.iterdir()} == {"README.md", *SOLVERS, *NETS}
    assert {load(solver).solver.net for solver in SOLVERS} == set(NETS) == set(PARAMETERS)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what it names is found from anywhere
    config = load(name)
    solver, nets = config.solver, config.nets
    assert pathlib.Path(nets.train.path) == PROTOTXT / solver.net
    assert len(nets.tests) == len(solver.test_iter)
    assert solver.snapshot_prefix == name.partition("_solver")[0]
    [(_, (batch, *_)), *_] = input_shapes(nets.tests[-1])["data"]
    assert solver.test_iter[-1] * batch == data_of(name)[1]
    for net in (nets.train, *nets.tests):
        (layer,) = net.data_layers()
        paths = [line.split('"')[1] for line in str(layer).splitlines() if "source:" in line or "mean_file:" in line]
        assert paths
        assert all(path.startswith("../data/") and path.count("/") == 2 for path in paths)


@pytest.mark.parametrize("prefix", ["cifar10_quick", "cifar10_full"])
def test_each_stage_starts_from_a_snapshot_of_the_one_before(prefix):
    stages = [load(name).solver for name in SOLVERS if name.startswith(prefix)]
    for before, after in zip(stages, stages[1:]):
        assert before.max_iter % before.snapshot == 0
        assert before.max_iter < after.max_iter
        assert math.isclose(before.base_lr, 10 * after.base_lr, rel_tol=1e-6)
        assert (before.net, before.snapshot_format) == (after.net, after.snapshot_format)


@pytest.mark.parametrize("name", NETS)
def test_stock_caffe_builds_the_net(name):
    nets = nets_of(name)
    for net in (nets.train, *nets.tests):
        net.check(CaffeEngine().layer_types())
        shapes, larger = (
            {top: shape for tops in input_shapes(net, extra).values() for top, shape in tops} for extra in (0, 1)
        )
        found = CaffeEngine().inspect(
            net.with_inputs(list(input_shapes(net).values())), larger, shapes["data"][0], net.path
        )
        assert found.flexible
        assert {top: found.shapes[top] for top in shapes} == shapes
        outputs = net.output_blobs()
        assert outputs
        assert all(math.prod(found.shapes[output]) == 1 for output in outputs)


@pytest.mark.parametrize("name", NETS)
def test_number_of_parameters(name, tmp_path):
    net = nets_of(name).train
    # the images of a batch do not matter here
    one = [[(top, (1, *shape[1:])) for top, shape in tops] for tops in input_shapes(net).values()]
    message = net.with_inputs(one)
    for layer in message.layer:  # random weights take time
        layer.convolution_param.ClearField("weight_filler")
        layer.inner_product_param.ClearField("weight_filler")
    path = tmp_path / "net.prototxt"
    path.write_text(str(message))
    built = stock.caffe.Net(str(path), stock.caffe.TRAIN)
    assert sum(blob.count for blob in stock.parameters(built)) == PARAMETERS[name]


def test_lenets_differ_in_their_data_only():
    assert len(LENETS) == 5
    for phase in (TRAIN, TEST):
        bodies = set()
        for name in LENETS:
            net = nets_of(name).train if phase == TRAIN else nets_of(name).tests[0]
            bodies.add(tuple(str(layer) for layer in net.message.layer if layer.name != "data"))
        assert len(bodies) == 1


def test_auxiliary_classifiers_of_googlenet():
    nets = nets_of("googlenet_train_test.prototxt")
    weights = [layer.loss_weight[0] for layer in nets.train.message.layer if layer.type == "SoftmaxWithLoss"]
    assert weights == pytest.approx([0.3, 0.3, 1])
    losses = ["loss1/loss", "loss2/loss", "loss3/loss3"]
    assert sorted(nets.train.output_blobs()) == losses
    tops = [f"loss{number}/top-{k}" for number in (1, 2, 3) for k in (1, 5)]
    assert sorted(nets.tests[0].output_blobs()) == sorted(losses + tops)


def test_what_a_net_names_is_looked_for_beside_it(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "net.prototxt").write_text(stock.lmdb_net("../data/there", 10))
    (tmp_path / "nets" / "solver.prototxt").write_text('net: "net.prototxt" max_iter: 1')
    (tmp_path / "data" / "there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for conf in ("nets/solver.prototxt", str(tmp_path / "nets" / "solver.prototxt")):
        config = Config(None, conf=conf)
        found = config.files.find("../data/there", beside=config.nets.train.path)
        assert found is not None
        assert pathlib.Path(found.replace("file:", "", 1)).resolve() == tmp_path / "data" / "there"
