"""What a case of the corpus is, and the small pieces that nets are built of."""

import re
from dataclasses import dataclass, field
from typing import Dict

__all__ = [
    "CONV",
    "DATA",
    "LOSS",
    "SOLVER",
    "TESTS",
    "Case",
    "after_conv",
    "as_v1",
    "classified",
    "database",
    "inner_product",
    "last_top",
    "layer",
    "numbers",
    "over_numbers",
]

SOLVER = 'base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" weight_decay: 0.0005'
#: Both phases have the data of most nets: they are validated after the last iteration.
TESTS = "test_iter: 2 test_interval: 3 test_initialization: false"
RUNS, REFUSED = "runs", "refused"


@dataclass(frozen=True)
class Case:
    """A net with its solver, and what stock Caffe and we make of it.

    Attributes
    ----------
    net : its text
    solver : the solver's text; ``@`` is the net's file, and where there is none, ``net: "@"`` is put before it
    files : further files by name, where a % is the case's own number; ``@`` in the solver may be one of their names
    stock, ours : whether it runs
    why : why those differ, as the documentation has it
    random : whether its data depends on random numbers, of which each has its own
    late : whether Caffe ends the process only at the first iteration
    stock_net : what stock Caffe gets where the net has fields of CaffeOnSpark's
    """

    net: str
    solver: str = f"{SOLVER} {TESTS}"
    files: Dict[str, str] = field(default_factory=dict)
    stock: str = RUNS
    ours: str = RUNS
    why: str = ""
    random: bool = False
    late: bool = False
    stock_net: str = ""


def layer(kind, blobs, rest=""):
    """A layer's text; ``blobs`` is written ``bottom,bottom>top,top``."""
    bottoms, tops = (side.split(",") if side else [] for side in blobs.split(">"))
    name = f"{(tops or bottoms)[0]}_{kind}"
    ends = [f'bottom: "{blob}"' for blob in bottoms] + [f'top: "{blob}"' for blob in tops]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {rest} }}\n'


def last_top(text):
    return re.findall(r'top: "(\w+)"', text)[-1]


def inner_product(blobs, outputs, rest=""):
    return layer(
        "InnerProduct",
        blobs,
        f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} {rest} }}',
    )


def database(tops, source, rest="transform_param { scale: 0.00390625 }", backend="backend: LMDB", batch=10):
    """A Data layer over one of the databases."""
    return layer("Data", f">{tops}", f'{rest} data_param {{ source: "{source}" batch_size: {batch} {backend} }}')


def numbers(tops, rest=""):
    """An HDF5Data layer over the data sets of these names."""
    return layer("HDF5Data", f">{tops}", f'hdf5_data_param {{ source: "numbers.txt" batch_size: 10 {rest} }}')


DATA = database("data,label", "images_lmdb")
CONV = layer(
    "Convolution",
    "data>conv",
    'convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } }',
)
LOSS = layer("SoftmaxWithLoss", "ip,label>loss")


def classified(text, data=DATA):
    """Data, these layers, an InnerProduct over the last of their tops, and a softmax loss."""
    return data + text + inner_product(f"{last_top(text)}>ip", 10) + LOSS


def after_conv(text):
    """The same with a convolution before, which learns through these layers."""
    return classified(CONV + text)


def over_numbers(text, tops="x,label"):
    """A loss, or more, over an InnerProduct (``y``, 5 outputs) of the HDF5 file's ``x``."""
    return numbers(tops) + inner_product("x>y", 5) + text


_V1 = {
    "AbsVal": "ABSVAL",
    "ArgMax": "ARGMAX",
    "BNLL": "BNLL",
    "HDF5Data": "HDF5_DATA",
    "LRN": "LRN",
    "MVN": "MVN",
    "ReLU": "RELU",
    "SoftmaxWithLoss": "SOFTMAX_LOSS",
    "TanH": "TANH",
}


def as_v1(text):
    """The net as of 2014: ``layers`` whose type is an enum's value. It may have no ``param { }``."""

    def in_2014(match):
        name, kind = match.groups()
        return f"layers {{ {name} type: {_V1.get(kind) or re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', kind).upper()}"

    return re.sub(r'^layer \{ (name: "\w+") type: "(\w+)"', in_2014, text, flags=re.MULTILINE)
