"""Names of CaffeOnSpark's ``Config`` that are no flags here: programs that use them run, and are told what they do."""

from __future__ import annotations

import logging
from typing import Any, Dict, Mapping, Tuple

from ..nets.net import TEST, TRAIN, reads_data
from ..nets.prototxt import parse_net

__all__ = ["LegacyAttributes", "split", "translated"]

_log = logging.getLogger(__name__)

_TOOLS = "give it to the tool (run_tool, or the tool's command)"
_COCO = "give it to the DFConversions or the Vocab of caffeonspark.compat"
#: What else to do, by name.
_IDLE: Dict[str, str] = {
    "imageRoot": _TOOLS,
    "labelFile": _TOOLS,
    "captionFile": _COCO,
    "captionLength": _COCO,
    "vocabSize": _COCO,
    "imageCaptionDFDir": _COCO,
    "vocabDir": _COCO,
    "embeddingDFDir": _COCO,
    "transform_thread_per_device": "-decoders is how many processes of a rank decode images",
}
_CONNECTIONS = {"0": "ethernet", "1": "infiniband", "2": "ethernet"}  # NONE, RDMA, SOCKET


def split(given: Mapping[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What is given by names that are flags, and what by these names; dashes before names are optional."""
    given = {str(name): value for name, value in given.items()}
    legacy = {name.lstrip("-"): value for name, value in given.items() if name.lstrip("-") in _IDLE}
    return {name: value for name, value in given.items() if name.lstrip("-") not in _IDLE}, legacy


def translated(name: str, value: Any) -> Any:
    """The value of a flag that CaffeOnSpark's programs write another way."""
    return _CONNECTIONS.get(str(value), value) if name.lstrip("-") == "connection" else value


class LegacyAttributes:
    """Attributes of CaffeOnSpark's ``Config`` that change nothing here, with its defaults."""

    imageRoot: str = ""
    labelFile: str = ""
    captionFile: str = ""
    captionLength: int = 20
    vocabSize: int = -1
    imageCaptionDFDir: str = ""
    vocabDir: str = ""
    embeddingDFDir: str = ""
    transform_thread_per_device: int = 1

    solver: Any
    solver_path: str
    files: Any
    nets: Any

    def _assign_legacy(self, name: str, value: Any) -> bool:
        """Take a value for one of these names; False for others."""
        if name == "isFeature":  # which follows from -features
            return True
        if name not in _IDLE:
            return False
        object.__setattr__(self, name, value)
        _log.warning("caffeonspark: Config.%s is taken and does nothing: %s", name, _IDLE[name])
        return True

    @property
    def log(self) -> logging.Logger:
        """The library's logger."""
        return logging.getLogger("caffeonspark")

    @property
    def train_data_layer_id(self) -> int:
        """The number of the TRAIN phase's data layer among all layers of the net's file, -1 where there is none."""
        return self._data_layer_id(TRAIN)

    @property
    def test_data_layer_id(self) -> int:
        """The number of the TEST phase's data layer among all layers of the net's file, -1 where there is none."""
        return self._data_layer_id(TEST)

    def _data_layer_id(self, phase: int) -> int:
        solver = self.solver
        if solver.HasField("net"):
            net = parse_net(self.files.read(solver.net, "the net", beside=self.solver_path), solver.net)
        elif solver.HasField("net_param"):
            net = solver.net_param
        elif phase == TRAIN:
            net = self.nets.train.message
        else:
            net = self.nets.tests[0].message if self.nets.tests else None
        layers = [] if net is None else [(n, layer) for n, layer in enumerate(net.layer) if reads_data(layer)]
        for number, layer in layers:
            if any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include):
                return number
        return next((number for number, layer in layers if not layer.include), -1)
