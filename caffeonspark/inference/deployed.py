"""A deploy net and the weights for it, as files that stock Caffe, OpenCV and others read."""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
from google.protobuf import text_format

from ..errors import ConfigError
from ..formats.caffemodel import LayerWeights, read_caffemodel, write_caffemodel
from ..formats.endings import ending_of, is_hdf5
from ..nets.deploy import set_shapes
from ..nets.embedded import embedded
from ..nets.net import TEST, Net
from ..plans.inspection import NetInspector
from ..plans.layer_names import parameters_by_name
from ..plans.net_plan import LayerParameters, NetPlan
from ..plans.weights_match import check_all_there

__all__ = ["content_of", "deployed_files", "read_weights", "shaped", "transformations"]


def shaped(
    message: Any, shapes_at: Callable[[int], Dict[str, Tuple[int, ...]]], batch: int, engine: NetInspector, where: str
) -> Any:
    """A deploy net with the shapes of its inputs: for one sample, or for ``batch`` where the net states its batch.

    Parameters
    ----------
    message : NetParameter
    shapes_at : the shape of each input that has none yet, by the size of the batch
    batch : samples a pass of the net that it was made of
    engine, where : as for ``Engine.inspect``
    """
    found = engine.inspect(set_shapes(message, shapes_at(batch)), shapes_at(batch + 1), batch, where)
    return set_shapes(message, shapes_at(1 if found.flexible else batch))


def transformations(layer: Any, inputs: Sequence[str]) -> Tuple[List[str], Dict[str, bytes]]:
    """A line for each transformation that a data layer's tops have gone through; and by their names the mean files in
    it that are in the net itself."""
    files: Dict[str, bytes] = {}
    blocks = layer.cos_data_param.top or [layer]  # those of a CoSData layer, or the layer's first top
    pairs = [
        (top, block) for top, block in zip(layer.top, blocks) if top in inputs and block.HasField("transform_param")
    ]
    texts = []
    for top, block in pairs:
        param = type(block.transform_param)()
        param.CopyFrom(block.transform_param)
        mean = embedded(param.mean_file)
        if mean is not None:
            param.mean_file = f"{re.sub('[^A-Za-z0-9_.-]', '_', top)}_mean.binaryproto"
            files[param.mean_file] = mean
        texts.append((top, text_format.MessageToString(param, as_one_line=True)))
    return [f"input '{top}' takes images after -transform '{text}'" for top, text in texts if text], files


def deployed_files(
    message: Any, notes: Sequence[str], train: Net, engine: NetInspector, model: Tuple[str, bytes], name: str
) -> Dict[str, bytes]:
    """The files, by their names: ``deploy.prototxt``, and the weights of its layers.

    Parameters
    ----------
    message : the deploy net, with shapes
    notes : lines for a comment above it
    train : the net whose model it is, by whose names layers share parameters; errors call its file
    engine : NetInspector
    model : (name, content) of the model's file; the name tells the format
    name : of the file of weights to be made; it tells the format, too

    Raises
    ------
    ConfigError
        If the model is another net's, or the format cannot hold it.
    DataError
        If the model is damaged.
    """
    if is_hdf5(name):
        _check_names(train, message)
    plan = _plan(engine, train, message)
    check_all_there(plan, *model)
    with tempfile.TemporaryDirectory(prefix="caffeonspark-") as scratch:
        written = os.path.join(scratch, name)
        write_caffemodel(written, _weights(plan, train, read_weights(*model)), message.name)
        with open(written, "rb") as f:
            weights = f.read()
    text = "".join(f"# {note}\n" for note in notes) + text_format.MessageToString(message, as_utf8=True)
    return {"deploy.prototxt": text.encode(), name: weights}


def read_weights(name: str, content: bytes) -> List[LayerWeights]:
    """The layers of a model's file; ``name`` tells its format. Raises as ``read_caffemodel``."""
    with tempfile.NamedTemporaryFile(prefix="caffeonspark-", suffix=ending_of(name)) as f:
        f.write(content)
        f.flush()
        return read_caffemodel(f.name, name)


def content_of(layers: Sequence[LayerWeights]) -> bytes:
    """The content of a binary model of these layers."""
    with tempfile.NamedTemporaryFile(prefix="caffeonspark-", suffix=".caffemodel") as f:
        write_caffemodel(f.name, layers)
        return f.read()


def _check_names(net: Net, message: Any) -> None:
    """Raise ConfigError for a layer whose name cannot be in an HDF5 file."""
    for layer in message.layer:
        if not layer.name or "/" in layer.name or layer.name == ".":
            raise ConfigError(
                f"{net.path}: the layer name '{layer.name}' cannot be in an HDF5 file: take -format binary, or "
                "rename the layer"
            )


def _plan(engine: NetInspector, net: Net, message: Any) -> NetPlan:
    """What is to be known of a deploy net: the layers that have parameters."""
    found = engine.inspect(message, {}, 1, net.path)
    weights = parameters_by_name(Net(message, net.path, TEST), message, found.layers)
    return NetPlan(
        content=message.SerializeToString(),
        path=net.path,
        layers=(),
        outputs=(),
        shapes=found.shapes,
        batch_axes={},
        flexible=False,
        parameters=found.parameters,
        weights=weights,
    )


def _weights(plan: NetPlan, train: Net, read: List[LayerWeights]) -> List[LayerWeights]:
    """The weights of the deploy net's layers, in the net's order. A parameter that layers share is one array."""
    found = {layer.name: layer for layer in read if layer.blobs}
    shared: Dict[str, np.ndarray] = {}
    for layer in train.message.layer:  # an HDF5 file has them in the layer that comes first
        for param, blob in zip(layer.param, found.get(layer.name, LayerWeights("")).blobs):
            if param.name and blob is not None:
                shared.setdefault(param.name, blob)
    parameters = {layer.name: layer for layer in plan.weights}
    layers = []
    for layer in plan.message().layer:
        blobs = found.get(layer.name, LayerWeights("")).blobs
        names = [param.name for param in layer.param]
        arrays = []
        for number, shape in enumerate(parameters.get(layer.name, LayerParameters("")).shapes):
            name = names[number] if number < len(names) else ""
            array = shared[name] if name in shared else blobs[number]
            assert array is not None
            arrays.append(array.reshape(shape))
        layers.append(LayerWeights(layer.name, layer.type, list(arrays)))
    return layers
