"""A fixed net, forward and backward: machines whose BLAS or mathematical library rounds differently differ in it."""

from __future__ import annotations

import hashlib

import numpy as np
from google.protobuf import text_format

from ...nets.schema import NetParameter
from .pycaffe import caffe, prototxt

__all__ = ["digest"]

# Products of the sizes that nets have: long and short sums (a long one is cut where the cache says), a few rows and
# many, sizes that are no multiple of a kernel's; sums of arrays; exponentials and powers.
_NET = """
force_backward: true
layer { name: "image" type: "Input" top: "image" input_param { shape { dim: 2 dim: 3 dim: 29 dim: 29 } } }
layer { name: "row" type: "Input" top: "row" input_param { shape { dim: 67 dim: 4099 } } }
layer { name: "conv" type: "Convolution" bottom: "image" top: "conv"
  convolution_param { num_output: 50 kernel_size: 5 } }
layer { name: "norm" type: "LRN" bottom: "conv" top: "norm" }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool" top: "conv2"
  convolution_param { num_output: 21 kernel_size: 5 pad: 2 } }
layer { name: "few" type: "InnerProduct" bottom: "conv2" top: "few" inner_product_param { num_output: 10 } }
layer { name: "many" type: "InnerProduct" bottom: "row" top: "many" inner_product_param { num_output: 37 } }
layer { name: "curve" type: "Sigmoid" bottom: "many" top: "curve" }
layer { name: "sum" type: "Eltwise" bottom: "many" bottom: "curve" top: "sum"
  eltwise_param { operation: SUM coeff: 0.3 coeff: -0.7 } }
"""


def digest() -> str:
    """SHA-256 of the net's values and gradients. Leaves Caffe's random numbers alone."""
    numbers = np.random.RandomState(7)

    def fill(array: np.ndarray) -> None:
        array[...] = numbers.uniform(-0.5, 0.5, array.shape)

    with prototxt(text_format.Parse(_NET, NetParameter())) as path:
        net = caffe.Net(path, caffe.TRAIN)
    parameters = [blob for blobs in net.params.values() for blob in blobs]
    for blob in [*parameters, net.blobs["image"], net.blobs["row"]]:
        fill(blob.data)
    net.forward()
    for name in ("few", "sum"):
        fill(net.blobs[name].diff)
    net.backward()
    found = hashlib.sha256()
    for blob in [*net.blobs.values(), *parameters]:
        found.update(np.ascontiguousarray(blob.data).tobytes())
        found.update(np.ascontiguousarray(blob.diff).tobytes())
    return found.hexdigest()
