"""Nets and models of older versions of Caffe, trained and computed by our engine: what stock Caffe makes of them."""

import h5py
import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import Config
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.nets.net import TRAIN, Net
from caffeonspark.nets.prototxt import parse_net
from caffeonspark.plans.net_source import NetSource
from caffeonspark.plans.weights_match import check_all_there
from tests.support import stock
from tests.support.stock import caffe

caffe_pb2 = caffe.proto.caffe_pb2
BATCH, STEPS = 20, 4

# layers of before 2014 name no backend, and that means LevelDB: HDF5 data here
V0 = """
layers { layer { name: "mnist" type: "hdf5_data" source: "list.txt" batchsize: 20 } top: "data" top: "label" }
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "padded" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 5 blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  weight_decay: 0 weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.1 } }
  bottom: "padded" top: "conv" }
layers { layer { name: "pool" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "conv" top: "pool" }
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 } bottom: "pool" top: "norm" }
layers { layer { name: "relu" type: "relu" } bottom: "norm" top: "norm" }
layers { layer { name: "ip" type: "innerproduct" num_output: 10 weight_filler { type: "xavier" } blobs_lr: 0.5
  blobs_lr: 0 } bottom: "norm" top: "ip" }
layers { layer { name: "loss" type: "softmax_loss" } bottom: "ip" bottom: "label" }
"""
V1_LAYERS = """
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  weight_decay: 0 convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } } }
layers { name: "pool" type: POOLING bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layers { name: "one" type: INNER_PRODUCT bottom: "pool" top: "one" param: "w" param: "b"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } include { phase: TRAIN } }
layers { name: "two" type: INNER_PRODUCT bottom: "pool" top: "two" param: "w" param: "b"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } exclude { phase: TEST } }
layers { name: "sum" type: ELTWISE bottom: "one" bottom: "two" top: "sum" eltwise_param { coeff: 0.25 coeff: 1 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "sum" bottom: "label" top: "loss" loss_weight: 0.5 }
"""
V1 = (
    """layers { name: "data" type: DATA top: "data" top: "label"
  data_param { source: "%s" batch_size: 20 backend: LMDB scale: 0.00390625 } }"""
    + V1_LAYERS
)
BATCH_NORM = """
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.00390625 }
  data_param { source: "%s" batch_size: 20 backend: LMDB scale: 7 mirror: true } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" param { lr_mult: 1 } param { lr_mult: 1 }
  param { lr_mult: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "norm" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
NETS = {"V0": V0, "V1": V1, "BatchNorm": BATCH_NORM}
SOLVER = (
    'base_lr: 0.05 lr_policy: "fixed" weight_decay: 0.01 solver_type: NESTEROV momentum: 0.9 random_seed: 3 '
    "max_iter: 9 "
)


@pytest.fixture
def folder(tmp_path, small_images, small_lmdb, monkeypatch):
    """The nets, in a file each, their data, and where Caffe looks for it."""
    images, labels = small_images
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["data"] = images.astype(np.float32) * np.float32(stock.SCALE)
        f["label"] = labels.astype(np.float32)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/data.h5\n")
    for name, text in NETS.items():
        (tmp_path / f"{name}.prototxt").write_text(text % small_lmdb if "%s" in text else text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("form", ["net", "net_param", "train_net_param"])
@pytest.mark.parametrize("name", NETS)
def test_what_is_trained_is_what_caffe_trains(folder, small_images, name, form):
    (folder / "stock.prototxt").write_text(SOLVER + f'net: "{name}.prototxt"')
    expected = caffe.get_solver("stock.prototxt")
    text = (folder / f"{name}.prototxt").read_text()
    where = f'net: "{name}.prototxt"' if form == "net" else f"{form} {{ {text} }}"
    (folder / "solver.prototxt").write_text(SOLVER + where)
    config = Config(None, conf=str(folder / "solver.prototxt"))
    plan = NetSource(config, config.nets.train).plan
    engine = CaffeEngine()
    trainer = engine.trainer(config.solver, plan.message(), [], 0, str(folder))
    # Caffe's Data layers draw a number for their thread before the fillers do
    for mine, blob in zip(trainer.weights, stock.parameters(expected.net)):
        blob.data[...] = mine
    expected.step(STEPS)
    feed = stock.batches(*small_images, 1, 0, BATCH)

    def load():
        trainer.inputs["data"][...], trainer.inputs["label"][...] = next(feed)

    if name != "V0":  # what was checked to be the same is what the records become
        (top,) = (top for top in plan.layers[0].tops if top.name == "data")
        assert (top.transform.scale, top.transform.mirror) == (stock.SCALE, False)
    for _ in range(STEPS):
        trainer.step(load, lambda loss: None)
    assert len(trainer.weights) >= 4
    for one, other in zip(trainer.weights, [blob.data for blob in stock.parameters(expected.net)]):
        assert one.tobytes() == other.tobytes()
    trainer.close()


def old_model(net, version):
    """A model as of before 2014 or 2015, with a net's parameters, whose blobs have 4 axes."""
    old = caffe_pb2.NetParameter(name="old")
    kinds = {"Convolution": ("conv", 4), "InnerProduct": ("innerproduct", 14)}
    for name, blobs in net.params.items():
        kind, number = kinds[net.layers[list(net._layer_names).index(name)].type]
        layer = old.layers.add()
        if version == "V0":
            layer = layer.layer
            layer.type = kind
        else:
            layer.type = number
        layer.name = name
        for blob in blobs:
            new = layer.blobs.add(data=blob.data.ravel().tolist())
            new.num, new.channels, new.height, new.width = (1,) * (4 - blob.data.ndim) + blob.data.shape
    if version == "V0":
        old.layers.add().layer.MergeFrom(caffe_pb2.V0LayerParameter(name="pad", type="padding", pad=2))
    return old.SerializeToString()


@pytest.mark.parametrize("version", ["V0", "V1"])
def test_old_models_give_what_caffe_gives(folder, version):
    text = V0.partition('layers { layer { name: "pad"')[2].rpartition("layers {")[0]
    deploy = 'input: "data" input_dim: 6 input_dim: 1 input_dim: 12 input_dim: 12 layers { layer { name: "pad"' + text
    (folder / "deploy.prototxt").write_text(deploy)
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    for blob in stock.parameters(net):
        blob.data[...] = np.random.default_rng(5).normal(size=blob.data.shape)
    path = folder / "old.caffemodel"
    path.write_bytes(old_model(net, version))
    expected = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    expected.copy_from(str(path))
    rows = np.random.default_rng(6).normal(size=(6, 1, 12, 12))
    expected.blobs["data"].data[...] = rows
    expected.forward()
    message = parse_net(deploy.encode(), "deploy.prototxt")
    assert Net(message, "deploy.prototxt", TRAIN).blob_names()[0] == "data"
    predictor = CaffeEngine().predictor(message, str(path))
    predictor.blobs["data"][...] = rows
    predictor.forward()
    assert predictor.blobs["ip"].tobytes() == expected.blobs["ip"].data.tobytes() and expected.blobs["ip"].data.any()


@pytest.mark.parametrize("version", ["V0", "V1"])
def test_training_starts_from_old_models(folder, version):
    (folder / "solver.prototxt").write_text(SOLVER + 'net: "V0.prototxt"')
    config = Config(None, conf=str(folder / "solver.prototxt"))
    plan = NetSource(config, config.nets.train).plan
    donor = stock.make_solver(SOLVER.replace("random_seed: 3", "random_seed: 8"), (folder / "V0.prototxt").read_text())
    path = folder / "old.caffemodel"
    path.write_bytes(old_model(donor.net, version))
    check_all_there(plan, str(path), path.read_bytes())  # on the driver, before anything starts
    trainer = CaffeEngine().trainer(config.solver, plan.message(), [], 0, str(folder))
    assert not np.array_equal(trainer.weights[0], stock.weights(donor.net)[0])
    trainer.load_weights(str(path))
    for one, other in zip(trainer.weights, stock.weights(donor.net)):
        assert one.tobytes() == other.tobytes()
    trainer.close()


def test_the_text_of_an_upgraded_net_is_read_again(folder):
    """As CaffeModel and editors do."""
    net = parse_net(V0.encode(), "net.prototxt")
    assert parse_net(text_format.MessageToString(net).encode(), "net.prototxt") == net
