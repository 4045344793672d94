"""``caffeonspark export``: a deploy net and the weights for it, from a solver and a model."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import replace
from typing import Any, Dict, List, Tuple

import numpy as np
from google.protobuf import text_format

from ..api.config import Config
from ..errors import ConfigError
from ..formats.caffemodel import LayerWeights, read_caffemodel, write_caffemodel
from ..formats.checksums import read_checked, write_model
from ..formats.endings import ending_of, model_ending, name_beside
from ..inference.tasks import check_model
from ..nets.deploy import data_inputs, deploy_net, set_shapes
from ..nets.net import TEST, TRAIN, Net
from ..plans.layer_names import parameters_by_name
from ..plans.net_plan import LayerParameters, NetPlan
from ..plans.net_source import NetSource
from ..plans.weights_match import check_all_there
from ..storage import join
from .outputs import check_free, check_kept, new_folder

__all__ = ["export_model"]

_log = logging.getLogger(__name__)

_FORMATS = ("binary", "hdf5")


def export_model(config: Config, output: str, format: str = "binary", overwrite: bool = False) -> Tuple[str, str]:
    """Write ``deploy.prototxt`` and the weights for it into a folder, for Caffe, OpenCV and others.

    >>> export_model(Config(spark, conf="lenet_solver.prototxt", model="lenet.caffemodel.h5"), "deployed")

    The deploy net is the solver's (first) TEST net with ``Input`` layers for data and without losses, accuracies and
    what depends on labels; what a SoftmaxWithLoss or SigmoidCrossEntropyLoss computes before it compares becomes a
    layer ``prob``. Its batch size is 1, or the TEST net's where the net states it. The first record of the data is
    looked at for the inputs' shapes. Transformations are not part of a deploy net: a comment names them.

    Parameters
    ----------
    config : with ``conf`` and ``model``, which may be binary or HDF5
    output : the folder
    format : of the weights: ``binary`` (.caffemodel) or ``hdf5`` (.caffemodel.h5)
    overwrite : whether a folder that is there may be replaced

    Returns
    -------
    (str, str)
        Where the net and the weights are.

    Raises
    ------
    ConfigError
        If there is something at ``output``, or what is read is in it, the model is another net's, nothing is left to
        deploy, or the format cannot hold it.
    DataError
        If the model is damaged, or the data cannot be read.
    """
    if format not in _FORMATS:
        raise ConfigError(f"the format of weights is {' or '.join(_FORMATS)}, not '{format}'")
    check_free(config.storage, output, overwrite)
    run = config.run_config
    train = run.net(TRAIN)
    net = run.nets.tests[0] if run.nets.tests else replace(train, phase=TEST)
    model = check_model(run)
    if overwrite:
        check_kept(config.storage, output, [run.solver_path, net.path, model])
    content = read_checked(config.storage, model)
    message, notes = _shaped(config, net, deploy_net(net, train))
    if format == "hdf5":
        _check_names(net, message)
    plan = _plan(config, net, message)
    check_all_there(plan, model, content)
    weights_name = name_beside(os.path.basename(model), model_ending(format == "hdf5"))
    with new_folder(config.storage, output, overwrite) as folder:
        with tempfile.TemporaryDirectory(prefix="caffeonspark-") as scratch:
            read, written = os.path.join(scratch, "read" + ending_of(model)), os.path.join(scratch, weights_name)
            with open(read, "wb") as f:
                f.write(content)
            write_caffemodel(written, _weights(plan, train, read_caffemodel(read, model)), message.name)
            with open(written, "rb") as f:
                write_model(config.storage, join(folder, weights_name), f.read())
        text = "".join(f"# {note}\n" for note in notes) + text_format.MessageToString(message, as_utf8=True)
        config.storage.write(join(folder, "deploy.prototxt"), text.encode())
    for note in notes:
        _log.info("caffeonspark: %s", note)
    return join(output, "deploy.prototxt"), join(output, weights_name)


def _check_names(net: Net, message: Any) -> None:
    """Raise ConfigError for a layer whose name cannot be in an HDF5 file."""
    for layer in message.layer:
        if not layer.name or "/" in layer.name or layer.name == ".":
            raise ConfigError(
                f"{net.path}: the layer name '{layer.name}' cannot be in an HDF5 file: take -format binary, or "
                "rename the layer"
            )


def _shaped(config: Config, net: Net, message: Any) -> Tuple[Any, List[str]]:
    """The deploy net with its inputs' shapes, and a line about what each is made by."""
    inputs = data_inputs(message)
    if not inputs:
        return message, []
    source = NetSource(config, net.pruned(inputs))
    if source.sources:
        tops = {}
        for one in source.sources:
            one.open()
            tops.update({top.name: top for top in one.tops})
        batch = source.sources[0].batch_size
    else:  # a layer makes the data
        made = source.plan.shapes
        batch = made[inputs[0]][0]

    def at(size: int) -> Dict[str, Tuple[int, ...]]:
        if source.sources:
            return {name: tops[name].blob_shape(size) for name in inputs}
        return {name: (size, *made[name][1:]) if made[name][0] == batch else made[name] for name in inputs}

    shaped = set_shapes(message, at(batch))
    found = config.load_engine().inspect(shaped, at(batch + 1), batch, net.path)
    shaped = set_shapes(message, at(1)) if found.flexible else shaped
    return shaped, [note for one in source.sources for note in _transformations(one.layer, inputs)]


def _transformations(layer: Any, inputs: List[str]) -> List[str]:
    """A line for each transformation that a data layer's tops have gone through."""
    blocks = layer.cos_data_param.top or [layer]  # those of a CoSData layer, or the layer's first top
    pairs = [
        (top, block) for top, block in zip(layer.top, blocks) if top in inputs and block.HasField("transform_param")
    ]
    texts = [(top, text_format.MessageToString(block.transform_param, as_one_line=True)) for top, block in pairs]
    return [f"input '{top}' takes images after -transform '{text}'" for top, text in texts if text]


def _plan(config: Config, net: Net, message: Any) -> NetPlan:
    """What is to be known of a deploy net: the layers that have parameters."""
    found = config.load_engine().inspect(message, {}, 1, net.path)
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
