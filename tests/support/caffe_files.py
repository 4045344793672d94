"""Nets with everything that matters to Caffe's files, and solvers over them."""

import bz2
import gzip
import lzma
import pickle

import numpy as np

from tests.support.stock import make_solver

INPUTS = """
layer { name: "in" type: "Input" top: "data" top: "target"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } shape { dim: 4 dim: 5 } } }
"""
NETS = {
    "BatchNorm": INPUTS
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }
""",
    # "b" shares both parameters with "a", "c" only the second, so that a hole is left
    "shared": INPUTS
    + """
layer { name: "first" type: "InnerProduct" bottom: "data" top: "first"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "a" type: "InnerProduct" bottom: "first" top: "a" param { name: "w" } param { name: "v" }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } param { name: "v" }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" param { name: "w" } param { name: "own" }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "c" bottom: "target" top: "loss" }
""",
}
RULES = {
    "SGD": 'type: "SGD" momentum: 0.9',
    "Nesterov": 'type: "Nesterov" momentum: 0.9',
    "AdaGrad": 'type: "AdaGrad"',
    "RMSProp": 'type: "RMSProp" rms_decay: 0.9',
    "AdaDelta": 'type: "AdaDelta" momentum: 0.9 delta: 1e-6',
    "Adam": 'type: "Adam" momentum: 0.9',
}


def make(folder, net="BatchNorm", rule="SGD", hdf5=False):
    """A solver over one of the nets, its inputs filled, which saves into the folder."""
    settings = (
        f"{RULES[rule]} base_lr: 0.001 lr_policy: 'multistep' gamma: 0.5 stepvalue: 2 random_seed: 3 "
        f"max_iter: 100 solver_mode: CPU snapshot_prefix: '{folder}/caffe' "
        f"snapshot_format: {'HDF5' if hdf5 else 'BINARYPROTO'}"
    )
    solver = make_solver(settings, NETS[net])
    rng = np.random.default_rng(11)
    for name in ("data", "target"):
        solver.net.blobs[name].data[...] = rng.normal(size=solver.net.blobs[name].data.shape)
    return solver


def snapshot(folder, net="BatchNorm", rule="SGD", hdf5=False):
    """A snapshot after three iterations: (solver, path of the model, path of the state)."""
    solver = make(folder, net, rule, hdf5)
    solver.step(3)
    solver.snapshot()
    end = ".h5" if hdf5 else ""
    return solver, folder / f"caffe_iter_3.caffemodel{end}", folder / f"caffe_iter_3.solverstate{end}"


#: What people mistake for one of Caffe's files, or have left of one.
SPOILED = {
    "empty": lambda content: b"",
    "prototxt": lambda content: b'name: "LeNet"\nlayer {\n  name: "data"\n}\n',
    "Git LFS pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "cut short": lambda content: content[: len(content) * 2 // 3],
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "PyTorch": lambda content: b"PK\x03\x04\x00\x00" + content,
    "pickle": pickle.dumps,
    "web page": lambda content: b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n",
}
