"""What runs start from and what they leave, through Spark: weights that do nothing, layers of one name, -best."""

import re

import numpy as np
import pytest

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataError, DataSource
from caffeonspark.report.base import Observer
from tests.support import stock
from tests.support.caffe_files import SPOILED
from tests.support.training import train

SGD = 'type: "SGD" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
# ReLU and loss have one name, the pooling none; in Caffe such a net trains, and it is saved
MIXED = stock.LAYERS.replace('"relu" type', '"loss" type').replace('name: "pool" ', "")


class Heard(Observer):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def config_of(spark, folder, net, settings=SGD + "max_iter: 4", **flags):
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(f'net: "net.prototxt"\n{settings}')
    return Config(spark, conf=str(folder / "solver.prototxt"), clusterSize=2, quiet=True, **flags)


def test_weights_that_do_nothing_are_errors(spark, tmp_path, small_lmdb):
    """Each was taken without a word: random weights, and a model was saved."""
    solver = stock.make_solver(
        SGD, stock.input_net(4, layers=re.sub(r'name: "(conv|ip\d)"', r'name: "my_\1"', stock.LAYERS))
    )
    other = tmp_path / "other.caffemodel"
    solver.net.save(str(other))
    files = {"other names": (other, ConfigError, "nothing in common with .*conv, ip1, ip2 in the net")}
    for kind, spoil in SPOILED.items():
        path = tmp_path / f"{kind.replace(' ', '-')}.caffemodel"
        path.write_bytes(spoil(other.read_bytes()))
        files[kind] = (path, DataError, "is no model")
    net = stock.lmdb_net(small_lmdb, 10)
    (tmp_path / "run").mkdir()
    for path, error, message in files.values():
        with pytest.raises(error, match=f"{re.escape(str(path))}.* ?{message}"):
            train(spark, tmp_path / "run", SGD + "max_iter: 4", net, 2, weights=f"file:{path}")
        config = config_of(spark, tmp_path, net, model=f"file:{path}", features="ip2")
        source, cos = DataSource(spark).getSource(config, False), CaffeOnSpark(spark)
        for use in (cos.test, cos.features):
            with pytest.raises(error, match=f"{re.escape(str(path))}.* ?{message}"):
                use(source)
    assert not (tmp_path / "run" / "model.caffemodel").exists()


def test_finetuning_says_what_it_took_and_features_need_only_their_part(spark, tmp_path, small_lmdb):
    solver = stock.make_solver(SGD, stock.input_net(4, layers=stock.LAYERS.replace('"ip2" type', '"fc8" type')))
    path = tmp_path / "other.caffemodel"
    solver.net.save(str(path))
    heard, net = Heard(), stock.lmdb_net(small_lmdb, 10)
    train(spark, tmp_path, SGD + "max_iter: 2", net, 2, observers=[heard], weights=f"file:{path}")
    assert f"weights of file:{path}: 2 layers taken (conv, ip1), 1 new (ip2), 1 left over (fc8)" in heard.notes
    assert (tmp_path / "model.caffemodel.sha256").exists()
    config = config_of(spark, tmp_path, net, model=f"file:{path}", features="ip1")
    cos = CaffeOnSpark(spark)
    assert cos.features(DataSource(spark).getSource(config, False)).count() == 600
    config.features = "ip2"
    with pytest.raises(ConfigError, match=r"other\.caffemodel has no parameters for ip2 of"):
        cos.features(DataSource(spark).getSource(config, False))


def test_layers_of_one_name(spark, tmp_path, small_images, small_lmdb):
    """Without parameters: trained with validation and tested as before, the weights one solver's."""
    images, labels = small_images
    net = stock.lmdb_net(small_lmdb, 10, layers=MIXED)
    config = config_of(
        spark, tmp_path, net, SGD + "max_iter: 6 snapshot: 3 test_interval: 3", model=f"file:{tmp_path}/m.caffemodel"
    )
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    curve = cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False))
    assert [row.iteration for row in curve.collect()] == [0, 3, 6]
    expected, _ = stock.train_in_turn(SGD, 2, 10, 6, images, labels, layers=MIXED)
    found = stock.load_weights(tmp_path / "m.caffemodel", stock.input_net(10))
    for mine, theirs in zip(found, stock.weights(expected.net)):
        np.testing.assert_array_equal(mine, theirs)
    last = curve.collect()[-1]
    assert cos.test(data.getSource(config, False))["accuracy"] == pytest.approx(list(last.accuracy))
    with pytest.raises(ConfigError, match=r"the 4th and the 6th layer of the TRAIN phase, .* are both called 'ip2'"):
        train(spark, tmp_path, SGD + "max_iter: 2", net.replace('"ip1" type', '"ip2" type'), 2)


@pytest.mark.parametrize("max_iter", [4, 6])
def test_best_and_resume_end_with_a_model(spark, tmp_path, small_lmdb, max_iter):
    """At max_iter and before it; where no best model was saved, and where one was."""
    net, model = stock.lmdb_net(small_lmdb, 10), tmp_path / "m.caffemodel"
    settings = SGD + "snapshot: 4 test_interval: 2 "

    def run(max_iter, **flags):
        config = config_of(spark, tmp_path, net, f"{settings} max_iter: {max_iter}", model=f"file:{model}", **flags)
        cos, data = CaffeOnSpark(spark), DataSource(spark)
        cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False))
        return cos.result

    run(4)  # the model is the last, not the best
    model.unlink()
    run(max_iter, best=True, resume=True)
    assert model.exists()
    best = model.read_bytes()
    settings = settings.replace("base_lr: 0.05", "base_lr: 1e-30")  # nothing better comes any more
    assert run(max_iter + 4, best=True, resume=True).iteration == max_iter + 4
    assert model.read_bytes() == best
