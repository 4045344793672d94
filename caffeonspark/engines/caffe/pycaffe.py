"""pycaffe itself, loaded quietly, and what all that uses it needs. Importing this module loads it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from typing import Any, Dict, Iterator, List, Optional, Sequence

from google.protobuf import text_format

from ...errors import ConfigError
from ...nets.embedded import embedded
from ...storage import scratch_folder
from .glog import loading_quietly, show

with loading_quietly(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the old packages caffe imports
    try:
        import caffe
    except ImportError as e:
        raise ConfigError(
            f"the engine 'caffe' needs Caffe's Python module, which cannot be imported here ({e}): install "
            "conda-forge's caffe (conda env create -f conda-env.yml) or Debian's python3-caffe, or start with "
            "scripts/with-env"
        ) from None

if "Input" not in caffe.layer_type_list():
    raise ConfigError(
        f"the engine 'caffe' needs layers of type Input, and the Caffe in {os.path.dirname(caffe.__file__)} is a fork "
        "older than they are (January 2016): bring it up to Caffe 1.0, or install conda-forge's or Debian's Caffe"
    )

__all__ = ["caffe", "parameter_blobs", "places_of_layers", "prototxt", "show_log", "unique"]


def show_log(everything: bool) -> None:
    """Whether all of Caffe's log goes to standard error, or errors only, unless GLOG_minloglevel says more."""
    show(str(caffe._caffe.__file__), everything)


show_log(False)  # whoever imported caffe before us did it loudly


@contextlib.contextmanager
def prototxt(message: Any, folder: Optional[str] = None) -> Iterator[str]:
    """A file with the message's text, for the constructors of pycaffe, which read files only; the files inside its nets
    (``nets/embedded``) are there as long as it is."""
    folder = folder or scratch_folder()
    with contextlib.ExitStack() as stack:
        plain = type(message)()
        plain.CopyFrom(message)
        nets = [plain] if hasattr(plain, "layer") else [plain.train_net_param, *plain.test_net_param]
        for layer in (layer for net in nets for layer in net.layer if layer.type == "InfogainLoss"):
            content = embedded(layer.infogain_loss_param.source)
            if content is not None:
                file = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".binaryproto", dir=folder))
                file.write(content)
                file.flush()
                layer.infogain_loss_param.source = file.name
        f = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".prototxt", dir=folder))
        f.write(text_format.MessageToString(plain))
        f.flush()
        yield f.name


def parameter_blobs(net: Any) -> List[Any]:
    """Every blob that is saved of a net, layer by layer; ``net.params`` has only one layer of each name."""
    return [blob for layer in net.layers for blob in layer.blobs]


def places_of_layers(net: Any, message: Any) -> List[int]:
    """For each layer of the message that a net was built from, its number in the net, which has Split layers of Caffe's
    own between them."""
    places: List[int] = []
    for place, (name, layer) in enumerate(zip(net._layer_names, net.layers)):
        if len(places) < len(message.layer):
            wanted = message.layer[len(places)]
            if (wanted.name, wanted.type) == (name, layer.type):
                places.append(place)
    return places


def unique(blobs: Sequence[Any]) -> List[Any]:
    """Blobs without those that share another's memory (layers with shared parameters)."""
    seen: Dict[int, Any] = {}
    for blob in blobs:
        seen.setdefault(blob.data.ctypes.data, blob)
    return list(seen.values())
