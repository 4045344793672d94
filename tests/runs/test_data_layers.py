"""Nets with several data layers, of one name or with batches of different sizes, nets that make their own data, and
images of any size: equal to stock Caffe to the bit."""

import h5py
import numpy as np
import pytest

from caffeonspark import Config, ConfigError, DataError
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.plans.made_data import made_data_notes
from caffeonspark.plans.net_source import NetSource
from tests.support import stock
from tests.support.data_files import encode, write_lmdb
from tests.support.here import refusal, run_here, same, score_here

SOLVER = (
    'net: "net.prototxt" type: "SGD" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 12 '
    "test_iter: {test_iter} test_interval: 5 "
)
IP = (
    'layer {{ name: "ip" type: "InnerProduct" bottom: "{0}" top: "ip" inner_product_param {{ num_output: {1} '
    'weight_filler {{ type: "xavier" }} }} }}\n'
)
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'


def config_of(folder, net, test_iter=2, **flags):
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER.format(test_iter=test_iter))
    flags = {"decoders": 0, "model": str(folder / "m.caffemodel"), **flags}
    return Config(None, conf=str(folder / "solver.prototxt"), **flags)


class Stock:
    """What stock Caffe's solver comes to in a folder: its weights, and the outputs of its validations.

    It leaves what it began with in ``start.caffemodel``: layers that read ahead take a random number before weights do.
    """

    def __init__(self, folder, monkeypatch, iterations=12, interval=5):
        monkeypatch.chdir(folder)
        text = (folder / "solver.prototxt").read_text().replace("test_interval: 5", "test_interval: 1000000")
        (folder / "stock.prototxt").write_text(text + "test_initialization: false snapshot_after_train: false")
        solver = self.solver = stock.caffe.get_solver("stock.prototxt")
        passes = int(text.partition("test_iter: ")[2].split()[0])
        self.tests = []
        solver.net.save("start.caffemodel")
        for at in range(iterations + 1):
            if at % interval == 0 and len(solver.test_nets):
                net = solver.test_nets[0]
                net.share_with(solver.net)
                outputs = [{name: blob.copy() for name, blob in net.forward().items()} for _ in range(passes)]
                self.tests.append((at, {k: np.mean([o[k] for o in outputs], axis=0) for k in outputs[0]}))
            if at < iterations:
                solver.step(1)
        self.weights = stock.weights(solver.net)


def check(folder, monkeypatch, net, test_iter=2, outputs=("loss",), from_its_weights=False):
    """One rank's weights are stock's to the bit, and its validations stock's to rounding."""
    config = config_of(folder, net, test_iter)
    expected = Stock(folder, monkeypatch)
    (ours,) = run_here(config, folder, weights=folder / "start.caffemodel" if from_its_weights else None)
    assert same(ours.weights, expected.weights)
    assert [at for at, _, _ in ours.tests] == [at for at, _ in expected.tests]
    for (_, _, mine), (_, theirs) in zip(ours.tests, expected.tests):
        for name in outputs:
            assert np.allclose(mine[name], theirs[name].reshape(-1), rtol=1e-5)
    return config, ours, expected


# ---- layers of one name


def two_databases(folder, count=60):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 255, (count, 1, 6, 6), np.uint8)
    labels = rng.integers(0, 4, (count, 1, 1, 1)).astype(np.uint8)
    write_lmdb(folder / "images", images, labels[:, 0, 0, 0])
    write_lmdb(folder / "labels", labels, labels[:, 0, 0, 0])
    return images, labels


def two_layers(first="data", second="data", batches=(10, 10)):
    layer = (
        'layer {{ name: "{}" type: "Data" top: "{}" data_param {{ source: "{}" batch_size: {} backend: LMDB }} {} }}\n'
    )
    scale = f"transform_param {{ scale: {stock.SCALE} }}"
    return layer.format(first, "data", "images", batches[0], scale) + layer.format(
        second, "label", "labels", batches[1], ""
    )


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("databases")
    two_databases(folder)
    return folder


def test_two_data_layers_of_one_name(databases, monkeypatch):
    net = two_layers() + IP.format("data", 4) + LOSS
    config, ours, _ = check(databases, monkeypatch, net, from_its_weights=True)
    where = [layer.description for layer in NetSource(config, config.run_config.net(TRAIN)).plan.layers]
    assert "layer 'data' (top 'data'): LMDB" in where[0]
    assert "layer 'data' (top 'label'): LMDB" in where[1]
    start = databases / "start.caffemodel"
    halves = run_here(config, databases, 2, start)
    other = config_of(databases, two_layers("data", "label") + IP.format("data", 4) + LOSS)
    assert same(halves[0].weights, run_here(other, databases, 2, start)[0].weights)
    assert same(halves[0].weights, halves[1].weights)
    assert halves[0].tests[0][2] == pytest.approx(ours.tests[0][2])
    ids, found = score_here(config, ["ip", "label"], start)
    net = stock.caffe.Net(str(databases / "net.prototxt"), str(start), stock.caffe.TEST)
    assert ids == [f"{number:08d}" for number in range(60)]
    for at in range(0, 60, 10):
        net.forward()
        assert np.array_equal(found["ip"][at : at + 10], net.blobs["ip"].data)
        assert np.array_equal(found["label"][at : at + 10], net.blobs["label"].data.reshape(10, 1))


def test_a_bad_record_of_one_of_them_is_named(databases):
    net = two_layers() + IP.format("data", 3) + LOSS  # of 4 classes
    with pytest.raises(DataError, match=r"layer 'data' \(top 'label'\): LMDB .*: record '0.*': top 'label' is 3; "):
        run_here(config_of(databases, net), databases)


# ---- batches of different sizes


def by_time(folder, steps=21, batch=4, flexible=True, each=3):
    """Rows of time steps, each with three images: stock Caffe's way to sequences."""
    rng = np.random.default_rng(6)
    files = {"image": ("data", (steps * each, 5)), "text": ("word", (steps, 2))}
    for name, (top, shape) in files.items():
        with h5py.File(folder / f"{name}.h5", "w") as f:
            f[top] = rng.uniform(-1, 1, shape).astype(np.float32)
            if name == "text":
                f["label"] = rng.integers(0, 4, steps).astype(np.float32)
        (folder / f"{name}.txt").write_text(f"{folder}/{name}.h5\n")
    layer = 'layer {{ name: "data" type: "HDF5Data" {} hdf5_data_param {{ source: "{}.txt" batch_size: {} }} }}\n'
    return (
        layer.format('top: "data"', "image", batch * each)
        + layer.format('top: "word" top: "label"', "text", batch)
        + 'layer { name: "seen" type: "InnerProduct" bottom: "data" top: "seen" inner_product_param { num_output: 4 '
        'weight_filler { type: "xavier" } } }\n'
        f'layer {{ name: "r" type: "Reshape" bottom: "seen" top: "r" reshape_param {{ shape {{ '
        f"dim: {-1 if flexible else batch} dim: {4 * each} }} }} }}\n"
        'layer { name: "c" type: "Concat" bottom: "r" bottom: "word" top: "c" }\n' + IP.format("c", 4) + LOSS
    )


@pytest.mark.parametrize("flexible", [True, False])
def test_batches_of_different_sizes(tmp_path, monkeypatch, flexible):
    config, ours, expected = check(tmp_path, monkeypatch, by_time(tmp_path, 20, flexible=flexible), test_iter=5)
    halves = run_here(config, tmp_path, ranks=2)
    # whole batches: three of them go to rank 0, two to rank 1; dealt out round robin for validation
    assert [len(records) for records in halves[0].records] == [36, 12, 36, 12]
    assert halves[1].records[:2] == [list(range(36, 60)), list(range(12, 20))]
    assert halves[1].records[2:] == [[*range(12, 24), *range(36, 48)], [*range(4, 8), *range(12, 16)]]
    assert halves[0].tests[0][2]["loss"] == pytest.approx(ours.tests[0][2]["loss"], rel=1e-5)
    assert same(halves[0].weights, halves[1].weights)
    # scoring: a row for each record of the first layer, in batches as stock Caffe's
    model = tmp_path / "stock.caffemodel"
    expected.solver.net.save(str(model))
    ids, found = score_here(config, ["seen", "ip", "label"], model)
    assert ids == [str(number) for number in range(60)]
    net = stock.caffe.Net(str(tmp_path / "net.prototxt"), str(model), stock.caffe.TEST)
    for start in range(0, 60, 12):
        net.forward()
        assert np.array_equal(found["seen"][start : start + 12], net.blobs["seen"].data)
        assert np.array_equal(found["ip"][start : start + 12], np.repeat(net.blobs["ip"].data, 3, axis=0))
    _, means = score_here(config, model=model)
    assert len(means["loss"]) == 60


def test_a_last_batch_that_is_not_whole(tmp_path, monkeypatch):
    config = config_of(tmp_path, by_time(tmp_path, 21), test_iter=6)
    (ours,), expected = run_here(config, tmp_path), Stock(tmp_path, monkeypatch)
    assert same(ours.weights, expected.weights)
    assert ours.tests[0][1] == 63
    model = tmp_path / "stock.caffemodel"
    expected.solver.net.save(str(model))
    ids, found = score_here(config, ["seen", "ip"], model)
    assert ids == [str(number) for number in range(63)]
    assert len(found["ip"]) == 63
    assert np.array_equal(found["ip"][60], found["ip"][62])


def test_different_numbers_of_records(tmp_path, monkeypatch):
    """Training and validation on one rank go through each layer by itself, as stock Caffe; other ways are refused."""
    net = by_time(tmp_path, 20)
    with h5py.File(tmp_path / "image.h5", "w") as f:
        f["data"] = np.random.default_rng(1).uniform(-1, 1, (36, 5)).astype(np.float32)
    config, _, expected = check(tmp_path, monkeypatch, net, test_iter=5)
    with pytest.raises(DataError, match=r"have different numbers of records \(36 in .*, 20 in .*\): 2 ranks cannot"):
        run_here(config, tmp_path, ranks=2)
    model = tmp_path / "stock.caffemodel"
    expected.solver.net.save(str(model))
    with pytest.raises(DataError, match="data layers have different numbers of records, and -test and -features"):
        score_here(config, model=model)


def test_a_skipped_record_takes_its_batch_along(tmp_path):
    net = by_time(tmp_path, 20)
    with h5py.File(tmp_path / "image.h5", "r+") as f:
        f["data"][14, 2] = np.nan  # of the second batch
    config = config_of(tmp_path, net, 5, badRecords="skip", badRecordsMax=0.5)
    (ours,) = run_here(config, tmp_path)
    good = [*range(4), *range(8, 20)]
    assert ours.records[1] == ours.records[3] == good
    assert ours.tests[0][1] == 48
    ids, _ = score_here(config, ["loss"], stock_model(tmp_path, net))
    assert ids == [str(number) for number in [*range(12), *range(24, 60)]]


def stock_model(folder, net):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stock.make_solver('base_lr: 0.1 lr_policy: "fixed"', net).net.save("made.caffemodel")
    return folder / "made.caffemodel"


# ---- data that is made

MADE = (
    'layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param {\n'
    "  shape { dim: 4 dim: 6 } shape { dim: 4 }\n"
    '  data_filler { type: "gaussian" } data_filler { type: "constant" value: 2 } } }\n'
)
PYTHON = (
    'layer { name: "d" type: "Python" top: "data" top: "label" '
    'python_param { module: "tests.support.made" layer: "Numbers" } }\n'
)


@pytest.mark.parametrize("layer", [MADE, PYTHON])
def test_nets_that_make_their_data(tmp_path, monkeypatch, layer):
    net = layer + IP.format("data", 3) + LOSS
    config, ours, expected = check(tmp_path, monkeypatch, net, test_iter=3)
    assert [rows for _, rows, _ in ours.tests] == [12, 12, 12]
    model = tmp_path / "stock.caffemodel"
    expected.solver.net.save(str(model))
    ids, found = score_here(config, ["ip", "label"], model)
    assert ids == [str(number) for number in range(12)]
    assert [value.shape for value in found["ip"]] == [(3,)] * 12
    if layer is PYTHON:
        net = stock.caffe.Net(str(tmp_path / "net.prototxt"), str(model), stock.caffe.TEST)
        for start in range(0, 12, 4):
            net.forward()
            assert np.array_equal(found["ip"][start : start + 4], net.blobs["ip"].data)
        again = score_here(config, ["ip", "label"], model)[1]
        assert same(again["ip"], found["ip"])  # the layer begins anew


def test_made_data_beside_records(tmp_path, monkeypatch):
    noise = (
        'layer { name: "noise" type: "DummyData" top: "noise" '
        'dummy_data_param { shape { dim: 4 dim: 14 } data_filler { type: "gaussian" std: 0.1 } } }\n'
        'layer { name: "sum" type: "Eltwise" bottom: "c" bottom: "noise" top: "sum" }\n'
    )
    zeros = (
        'layer { name: "zero" type: "Input" top: "zero" input_param { shape { dim: 4 dim: 4 } } }\n'
        'layer { name: "out" type: "Eltwise" bottom: "ip" bottom: "zero" top: "out" }\n'
    )
    net = by_time(tmp_path, 20).replace(IP.format("c", 4) + LOSS, noise + IP.format("sum", 4) + zeros)
    config, _, _ = check(tmp_path, monkeypatch, net + LOSS.replace('"ip"', '"out"'), test_iter=5)
    first, second = run_here(config, tmp_path, ranks=2)
    assert same(first.weights, second.weights)
    lines = made_data_notes([config.run_config.net(TRAIN), config.run_config.net(TEST)], 2)
    assert len(lines) == 2
    assert "layer 'zero': nothing fills this Input layer: it holds zeros" in lines[0]
    assert "layer 'noise' (DummyData): each of the 2 ranks makes this data by itself" in lines[1]


def test_random_fillers_differ_from_rank_to_rank(tmp_path):
    """Were they the same, two ranks would do what one does."""
    net = MADE + IP.format("data", 3) + LOSS
    config = config_of(tmp_path, net)
    (one,), two = run_here(config, tmp_path), run_here(config, tmp_path, ranks=2)
    assert same(two[0].weights, two[1].weights)
    assert not same(one.weights, two[0].weights)
    assert [rows for _, rows, _ in two[0].tests] == [16] * 3  # each rank takes test_iter batches
    constant = config_of(tmp_path, net.replace("gaussian", "constant"))
    (one,), two = run_here(constant, tmp_path), run_here(constant, tmp_path, ranks=2)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(one.weights, two[0].weights))


def test_random_fillers_go_on_from_a_snapshot_as_they_would_have(tmp_path):
    config = config_of(tmp_path, MADE + IP.format("data", 3) + LOSS)
    message = NetSource(config, config.run_config.net(TRAIN)).plan.message()

    def trained(trainer, iterations):
        for _ in range(iterations):
            trainer.step(lambda: None, lambda loss: None)
        return [array.copy() for array in trainer.weights]

    def trainer(name):
        (tmp_path / name).mkdir()
        return CaffeTrainer(config.solver, message, [], 1, str(tmp_path / name))

    first = trainer("first")
    trained(first, 3)
    first.reseed(7)
    weights, state = first.snapshot()
    expected = trained(first, 4)
    second = trainer("second")
    second.restore(weights, state)
    second.reseed(7)
    assert same(trained(second, 4), expected)


def test_what_cannot_be_made_is_said(tmp_path):
    def plan(net):
        config = config_of(tmp_path, net)
        return NetSource(config, config.run_config.net(TRAIN)).plan

    rest = IP.format("data", 3) + LOSS
    words = refusal(lambda: plan(PYTHON.replace("tests.support.made", "no_such_module") + rest))
    assert words.endswith(
        "net.prototxt: layer 'd' (Python): there is no module 'no_such_module' on this machine: send it to every node "
        "with --py-files no_such_module.py, or install it in the environment"
    )
    words = refusal(lambda: plan(PYTHON.replace("Numbers", "Letters") + rest))
    assert "layer 'd' (Python): module 'tests.support.made' (" in words
    assert words.endswith("has no class 'Letters'")
    window = MADE.replace("DummyData", "WindowData").partition(" dummy")[0] + " }\n"
    assert (
        "layer 'd': a layer without bottoms reads data, and data layers of type WindowData are not supported. Cut"
        in (refusal(lambda: plan(window + rest)))
    )


def test_what_a_python_layer_raises_names_it(tmp_path, monkeypatch):
    (tmp_path / "raising.py").write_text(
        "from tests.support.made import Numbers\n"
        "class Raising(Numbers):\n"
        "    def setup(self, bottom, top):\n"
        "        open(self.param_str)\n"
        "        super().setup(bottom, top)\n"
        "    def forward(self, bottom, top):\n"
        "        raise ValueError('no more data')\n"
    )
    (tmp_path / "broken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    layer = PYTHON.replace("tests.support.made", "raising").replace('"Numbers"', '"Raising" param_str: "{}"')
    rest = IP.format("data", 3) + LOSS

    def plan(layer):
        config = config_of(tmp_path, layer + rest)
        return NetSource(config, config.run_config.net(TRAIN)).plan

    words = refusal(lambda: plan(layer.replace("{}", "/nowhere")))
    assert words.endswith(
        "net.prototxt: layer 'd' (Python): FileNotFoundError: [Errno 2] No such file or directory: '/nowhere' "
        f"({tmp_path}/raising.py, line 4)"
    )
    words = refusal(lambda: plan(PYTHON.replace("tests.support.made", "broken")))
    assert "layer 'd' (Python): its module 'broken' cannot be imported: SyntaxError: invalid syntax (broken.py" in words
    config = config_of(tmp_path, layer.replace("{}", str(tmp_path / "broken.py")) + rest)
    with pytest.raises(DataError, match=r"layer 'd' \(Python\): ValueError: no more data \(.*/raising.py, line 7\)"):
        run_here(config, tmp_path)
    with pytest.raises(DataError, match=r"layer 'd' \(Python\): ValueError: no more data"):
        score_here(config, ["ip"], stock_model(tmp_path, layer.replace("{}", str(tmp_path / "broken.py")) + rest))


def test_without_test_iter_made_data_has_no_end(tmp_path):
    config = config_of(tmp_path, MADE + IP.format("data", 3) + LOSS)
    del config.solver.test_iter[:]
    assert config.run_config.validation_nets == []
    with pytest.raises(
        ConfigError, match=r"layer 'd' \(DummyData\) makes the net's data, which has no end: say in the"
    ):
        NetSource(config, config.run_config.net(TEST)).batches_to_score()


def test_inputs_that_nothing_fills_are_not_scored(tmp_path):
    shapes = "input_param { shape { dim: 4 dim: 6 } shape { dim: 4 } }"
    layer = f'layer {{ name: "d" type: "Input" top: "data" top: "label" {shapes} }}\n'
    config = config_of(tmp_path, layer + IP.format("data", 3) + LOSS)
    assert len(run_here(config, tmp_path)[0].tests) == 3  # of zeros, as in stock Caffe
    with pytest.raises(ConfigError, match="layer 'd': nothing fills this Input layer, so there is nothing to score"):
        NetSource(config, config.run_config.net(TEST)).batches_to_score()


# ---- images of any size


def sizes(folder, count=12, encoded=False, listed=False):
    rng = np.random.default_rng(9)
    images = [
        rng.integers(0, 255, (1, int(rng.integers(8, 15)), int(rng.integers(8, 15))), np.uint8) for _ in range(count)
    ]
    labels = rng.integers(0, 3, count)
    write_lmdb(folder / "any", images, labels, encoded=encode if encoded else None)
    if listed:
        for number, image in enumerate(images):
            (folder / f"{number}.png").write_bytes(encode(image))
        (folder / "list.txt").write_text("".join(f"{folder}/{n}.png {label}\n" for n, label in enumerate(labels)))
        param = 'type: "ImageData" image_data_param { source: "list.txt" batch_size: 1 is_color: false }'
    else:
        param = 'type: "Data" data_param { source: "any" batch_size: 1 backend: LMDB }'
    return (
        f'layer {{ name: "data" top: "data" top: "label" {param} transform_param {{ scale: {stock.SCALE} '
        "mean_value: 100 } }\n"
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 '
        'kernel_size: 3 weight_filler { type: "xavier" } } }\n'
        'layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE '
        "global_pooling: true } }\n" + IP.format("pool", 3) + LOSS
    )


@pytest.mark.parametrize("kind", ["raw", "encoded", "list"])
def test_images_of_any_size_in_batches_of_one(tmp_path, monkeypatch, kind):
    net = sizes(tmp_path, encoded=kind == "encoded", listed=kind == "list")
    config, _, expected = check(tmp_path, monkeypatch, net, test_iter=12, from_its_weights=True)
    first, second = run_here(config, tmp_path, ranks=2)
    assert same(first.weights, second.weights)
    model = tmp_path / "stock.caffemodel"
    expected.solver.net.save(str(model))
    ids, found = score_here(config, ["conv", "ip"], model)
    net = stock.caffe.Net(str(tmp_path / "net.prototxt"), str(model), stock.caffe.TEST)
    assert len(ids) == 12
    for conv, ip in zip(found["conv"], found["ip"]):
        net.forward()
        assert np.array_equal(conv, net.blobs["conv"].data.reshape(-1))
        assert np.array_equal(ip, net.blobs["ip"].data.reshape(-1))
    assert len({len(conv) for conv in found["conv"]}) > 3


def test_label_maps_of_any_size(tmp_path, monkeypatch):
    """Each image has a label for every pixel; a label out of range is found when it comes."""
    rng = np.random.default_rng(4)
    shapes = [(1, int(rng.integers(5, 9)), int(rng.integers(5, 9))) for _ in range(10)]
    maps = [rng.integers(0, 3, shape).astype(np.uint8) for shape in shapes]
    write_lmdb(tmp_path / "images", [rng.integers(0, 255, shape).astype(np.uint8) for shape in shapes], [0] * 10)
    write_lmdb(tmp_path / "labels", maps, [0] * 10)
    score = (
        'layer { name: "ip" type: "Convolution" bottom: "data" top: "ip" convolution_param { num_output: 3 pad: 1 '
        'kernel_size: 3 weight_filler { type: "xavier" } } }\n'
    )
    check(tmp_path, monkeypatch, two_layers(batches=(1, 1)) + score + LOSS, test_iter=10, from_its_weights=True)
    maps[7][0, 2, 3] = 3
    write_lmdb(tmp_path / "more", maps, [0] * 10)
    net = two_layers(batches=(1, 1)).replace('"labels"', '"more"') + score + LOSS
    with pytest.raises(
        DataError, match=r"layer 'data' \(top 'label'\): .*record '00000007': top 'label' holds 3 \(value"
    ):
        run_here(config_of(tmp_path, net), tmp_path)


def test_a_net_that_takes_one_size_says_which_image_has_another(tmp_path):
    net = sizes(tmp_path)
    layers = net.partition('layer { name: "pool"')
    net = layers[0] + IP.format("conv", 3) + LOSS
    with pytest.raises(DataError, match=r"record '00000001': the image is 1x11x13 uint8 where the layer has 1x10x14"):
        run_here(config_of(tmp_path, net), tmp_path)


def test_outputs_of_other_sizes_have_no_mean(tmp_path):
    net = sizes(tmp_path) + 'layer { name: "e" type: "Power" bottom: "conv" top: "every" include { phase: TEST } }\n'
    with pytest.raises(DataError, match=r"output 'every' has \d+ values in one pass and \d+ in another"):
        run_here(config_of(tmp_path, net, test_iter=12), tmp_path)
