"""``caffeonspark export``: a deploy net and the weights for it, from a solver and a model."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any, Dict, List, Tuple

from ..api.config import Config
from ..errors import ConfigError
from ..formats.checksums import read_checked, write_model
from ..formats.endings import model_ending, name_beside
from ..inference.deployed import deployed_files, shaped, transformations
from ..inference.tasks import check_model
from ..nets.deploy import data_inputs, deploy_net
from ..nets.net import TEST, TRAIN, Net
from ..plans.net_source import NetSource
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
    message, notes, means = _shaped(config, net, deploy_net(net, train))
    weights_name = name_beside(os.path.basename(model), model_ending(format == "hdf5"))
    files = deployed_files(
        message, notes, replace(train, path=net.path), config.load_engine(), (model, content), weights_name
    )
    with new_folder(config.storage, output, overwrite) as folder:
        write_model(config.storage, join(folder, weights_name), files.pop(weights_name))
        for name, written in {**means, **files}.items():
            config.storage.write(join(folder, name), written)
    for note in notes:
        _log.info("caffeonspark: %s", note)
    return join(output, "deploy.prototxt"), join(output, weights_name)


def _shaped(config: Config, net: Net, message: Any) -> Tuple[Any, List[str], Dict[str, bytes]]:
    """The deploy net with its inputs' shapes, a line about what each is made by, and the mean files that these name."""
    inputs = data_inputs(message)
    if not inputs:
        return message, [], {}
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

    notes: List[str] = []
    means: Dict[str, bytes] = {}
    for one in source.sources:
        lines, files = transformations(one.layer, inputs)
        notes += lines
        means.update(files)
    return shaped(message, at, batch, config.load_engine(), net.path), notes, means
