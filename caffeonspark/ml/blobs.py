"""Which blobs of a net a model adds as columns."""

from __future__ import annotations

from typing import Dict, List

from ..errors import ConfigError
from ..nets.net import Net
from ..plans.run_config import RunConfig

__all__ = ["checked_features", "default_features"]


def checked_features(config: RunConfig) -> List[str]:
    """The blobs that ``transform`` will add. Raises ConfigError, before anything is trained, where it could not."""
    if not config.nets.tests:
        raise ConfigError(f"{config.solver_path}: the net has no data layer in the TEST phase, which transform needs")
    net = config.nets.tests[0]
    if not net.data_layers():
        layer = net.made_layers()[0]
        raise ConfigError(
            f"{net.where(layer)} ({layer.type}) makes the TEST net's data, which a DataFrame cannot stand for: use a "
            "CoSData layer"
        )
    net.check_blobs(config.settings.blobs)
    return config.settings.blobs or default_features(net)


def default_features(net: Net) -> List[str]:
    """The blobs to predict when none are named: what the TEST net's losses and accuracies are made from.

    That is, the outputs that remain when the layers that use a second top of a data layer (the label) are
    taken away; all outputs where nothing remains.
    """
    labels = {top for layer in net.data_layers() if layer.type != "Input" for top in list(layer.top)[1:]}
    left: Dict[str, None] = {}
    for layer in net.message.layer:
        if labels & set(layer.bottom):
            labels |= set(layer.top)
            continue
        for bottom in layer.bottom:
            left.pop(bottom, None)
        for top in layer.top:
            if top not in labels:
                left[top] = None
    return list(left) or net.output_blobs()
