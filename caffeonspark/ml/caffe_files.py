"""Models from Caffe's own files and back into them, and their weights as arrays."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

import numpy as np

from ..api.config import Config
from ..errors import ConfigError
from ..formats.checksums import read_checked, write_model
from ..formats.endings import ending_of, model_ending
from ..formats.shapes import read_shapes
from ..inference.deployed import deployed_files, read_weights, shaped, transformations
from ..nets.deploy import data_inputs, deploy_net
from ..nets.embedded import embed
from ..nets.inline import given_net
from ..nets.inputs import Feed, fed
from ..nets.net import TEST, Net, net_in_phase
from ..nets.prototxt import parse_fields
from ..nets.schema import TransformationParameter
from ..plans.scoring import scoring_plan
from ..storage import Storage, all_or_nothing, expand, find_file, join, local_path, parent, scheme
from .blobs import default_features
from .holding import HoldsNet

__all__ = ["CaffeFiles", "FromCaffe"]

Self = TypeVar("Self", bound="FromCaffe")
Path = Union[str, "os.PathLike[str]"]

_FORMATS = {"binary": False, "hdf5": True}


class FromCaffe:
    """How a model that gives blobs is made of Caffe's own files."""

    @classmethod
    def fromCaffe(
        cls: Type[Self],
        net: Any,
        weights: Path,
        columns: Optional[Mapping[str, str]] = None,
        transform: str = "",
        features: Sequence[str] = (),
        **params: Any,
    ) -> Self:
        """A model of a net and of weights that are there already. No Spark is needed.

        >>> model = CaffeModel.fromCaffe("deploy.prototxt", "caffenet.caffemodel",
        ...                              transform="crop_size: 227 mean_value: 104 mean_value: 117 mean_value: 123")
        >>> model.predict("cat.jpg").argmax()

        Parameters
        ----------
        net : a prototxt's path or text, a NetParameter or a ``caffe.NetSpec``, with Input layers
        weights : the path of a .caffemodel or .caffemodel.h5
        columns : by an input's name the column that fills it in ``transform``, where that has another name
        transform : what its images go through, as the text of a ``transform_param``
        features : the blobs to give; the net's outputs unless they are named
        **params
            Params of the model, such as ``resize``

        Raises
        ------
        ConfigError, DataError
            Where a file is missing or is none of Caffe's, the weights are of another net, or an input or blob that is
            named is not there.
        """
        files = Config(None).files
        message, path = given_net(_local(net, "net") if _is_path(net) else net, files)
        param = parse_fields(transform, TransformationParameter(), "transform") if transform else None
        if param is not None and param.mean_file:
            param.mean_file = embed(files.read(param.mean_file, "transform: mean_file", beside=path))
        test = fed(net_in_phase(message, path, TEST), Feed(columns=dict(columns or {}), transform=param))
        test.check_blobs(features)
        place = find_file(Storage(), _local(weights, "weights"), "the weights")
        content = read_checked(Storage(), place)
        _check_common(test, place, content)
        model: Any = cls(**params)
        model._trained(test, content, ending_of(place), None)
        model._set(features=list(features) or default_features(test))
        made: Self = model
        return made


class CaffeFiles(HoldsNet):
    """A model's net and weights as files that stock Caffe reads, and as arrays. No Spark is needed for any of it."""

    def saveCaffe(self, folder: Path, format: str = "", overwrite: bool = False) -> Tuple[str, str]:
        """Write ``deploy.prototxt`` and ``model.caffemodel`` into a folder, for stock Caffe, OpenCV and others.

        The deploy net is made as ``caffeonspark export`` makes it: without losses and labels; a comment names the
        transformation of its images.

        Parameters
        ----------
        folder : on the local disk; it is there whole or not at all
        format : of the weights: ``binary`` (.caffemodel) or ``hdf5`` (.caffemodel.h5); as the model's unless given
        overwrite : whether a folder that is there may be replaced

        Returns
        -------
        (str, str)
            Where the net and the weights are.

        Raises
        ------
        ConfigError
            If there is something at ``folder``, nothing is left to deploy, or the format cannot hold the weights.
        StorageError
            If it cannot be written.
        """
        storage, place = Storage(), _local(folder, "folder").rstrip("/")
        if format not in ("", *_FORMATS):
            raise ConfigError(f"the format of weights is {' or '.join(_FORMATS)}, not '{format}'")
        if storage.exists(place) and not overwrite:
            raise ConfigError(f"{folder} exists already: overwrite=True replaces it")
        config = Config(None, self._flags())
        engine = config.load_engine()
        net = self._held()
        message, notes, means = _deployed(config, net)
        content, ending = self.caffemodel
        name = "model" + (model_ending(_FORMATS[format]) if format else ending)
        model = (f"the model{ending}", content)
        files = deployed_files(message, notes, net, engine, model, name)
        base = os.path.basename(place)
        with all_or_nothing(storage, parent(place), [base]) as part:
            write_model(storage, join(join(part, base), name), files.pop(name))
            for other, written in {**means, **files}.items():
                storage.write(join(join(part, base), other), written)
        return join(place, "deploy.prototxt"), join(place, name)

    def weights(self) -> Dict[str, List[np.ndarray]]:
        """The parameters of each layer that has some, by its name: float32 arrays that cannot be written to.

        >>> model.weights()["conv1"][0].shape
        (20, 1, 5, 5)

        They are in Caffe's order, such as weights and bias, and have the shapes of the file. Of what layers share, an
        HDF5 model has only the first.
        """
        self._held()
        found: Dict[str, List[np.ndarray]] = {}
        content, ending = self.caffemodel
        for layer in read_weights(f"the model{ending}", content):
            blobs = [blob for blob in layer.blobs if blob is not None]
            for blob in blobs:
                blob.flags.writeable = False
            if blobs:
                found[layer.name] = blobs
        return found


def _deployed(config: Config, net: Net) -> Tuple[Any, List[str], Dict[str, bytes]]:
    """The deploy net of a net, a line about what each of its inputs takes, and the mean files that these name."""
    message = deploy_net(net)
    used = {top for layer in message.layer for top in layer.top}
    notes: List[str] = []
    means: Dict[str, bytes] = {}
    for layer in net.data_layers():
        lines, files = transformations(layer, [top for top in layer.top if top in used])
        notes += lines
        means.update(files)
    inputs = data_inputs(message)
    if inputs:
        plan = scoring_plan(config, net, inputs)
        tops = {top.name: top for layer in plan.layers for top in layer.tops}
        message = shaped(
            message,
            lambda size: {name: tops[name].blob_shape(size) for name in inputs},
            plan.batch_size,
            config.load_engine(),
            net.path,
        )
    return message, notes, means


def _local(path: Path, what: str) -> str:
    """A path of this machine. Raises ConfigError for others."""
    text = os.fspath(path)
    if scheme(text) not in ("", "file"):
        raise ConfigError(
            f"{what} {text}: files of this machine are read and written here, without Spark: use one of them, and "
            "CaffeModel.fromNet or save for others"
        )
    return os.path.abspath(local_path(expand(text)))


def _is_path(net: Any) -> bool:
    text = os.fspath(net) if isinstance(net, (str, os.PathLike)) else ""
    return bool(text) and not any(mark in text for mark in "\n{")


def _check_common(net: Net, name: str, content: bytes) -> None:
    """Raise ConfigError where a model has nothing of a net, DataError where it is none: as far as that shows without
    building the net."""
    layers = {layer.name for layer in read_shapes(content, name) if layer.blobs}
    names = {layer.name for layer in net.message.layer}
    if layers and not layers & names:
        raise ConfigError(
            f"{name}: nothing in common with {net.path}: its layers with parameters are {', '.join(sorted(layers)[:5])}"
        )
