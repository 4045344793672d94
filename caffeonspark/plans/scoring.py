"""Plans of nets that score what comes later: rows of a DataFrame as they are computed, or values in this process."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

from ..data.sources.base import Source
from ..data.tops import ImageTop
from ..errors import CaffeOnSparkError, ConfigError
from ..nets.net import Net
from ..nets.schema import NetParameter
from .inspection import Inspection, NetInspector
from .net_plan import LayerPlan, NetPlan
from .net_source import NetSource
from .run_config import Configured
from .without_data import Stated

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["ScoringSource", "scoring_plan", "with_sizes"]


class ScoringSource(NetSource):
    """A net whose data is not looked at: the layers say how large samples are, and a DataFrame's columns of which type.

    Parameters are those of ``NetSource``; without a DataFrame the values come from this process. Its plan raises
    ConfigError where only the data tells how large samples are.

    Notes
    -----
    The rows of a DataFrame are looked at where only they tell, unless it is a stream: a user's source need
    not know ``Source.settle``, and models of older versions do not know the sizes of their images.
    """

    later = True

    def _open(self) -> None:
        for number, source in enumerate(self.sources):
            if _settles(source):
                if self._dataframe is None:
                    self.sources[number] = Stated(source, source.tops)
            elif self._dataframe is None or self._dataframe.isStreaming:
                raise ConfigError(
                    f"{source.where}: only the data tells how large a sample is: give the layer a crop_size or a "
                    "mean_file, the size of its images in a MemoryData layer, or its source a method settle"
                )
            else:
                source.open()

    def _inspect(self, engine: NetInspector, message: Any, layers: Sequence[LayerPlan]) -> Inspection:
        """As of any net, but once for the same one: a stream's batches may each be scored by a call of transform."""
        about = (
            self.run_config.settings.engine,
            [(layer.batch_size, sorted(layer.shapes().items())) for layer in layers],
        )
        digest = hashlib.sha256(repr(about).encode() + message.SerializeToString(deterministic=True)).hexdigest()
        found = _inspected.get(digest) or super()._inspect(engine, message, layers)
        _inspected[digest] = found
        for oldest in list(_inspected)[:-_KEPT]:
            _inspected.pop(oldest, None)
        return found


def _settles(source: Source) -> bool:
    """Whether the source has settled its tops without a look at its data."""
    kinds = type(source).__mro__
    own = [kind for kind in kinds if not kind.__module__.startswith("caffeonspark.")]
    if any("open" in vars(kind) for kind in own) and not any("settle" in vars(kind) for kind in own):
        return False  # what more its open does is not known
    return source.settle()


_inspected: Dict[str, Inspection] = {}
_KEPT = 16


def scoring_plan(config: Configured, net: Net, blobs: Sequence[str], rows: Optional[DataFrame] = None) -> NetPlan:
    """The plan of the part of a net that these blobs depend on, made without a look at any data.

    Parameters
    ----------
    config : Config
    net : in the TEST phase
    blobs : names
    rows : the DataFrame that will be scored, which may be a stream: the types of its columns settle how they fill the
        net's inputs. None: the values come from this process; what may be an image has an ``ImageTop``, everything
        else a ``NumberTop``

    Raises
    ------
    ConfigError
        For blobs that are not there, columns that cannot fill the net's inputs, or where only the data tells how large
        a sample is.
    """
    return ScoringSource(config, net, rows).for_blobs(blobs).plan


def with_sizes(config: Configured, net: Net, blobs: Sequence[str], rows: DataFrame) -> Net:
    """The net, which also says how large its images are where only the data tells: as the first of these rows has them.

    A size stands in ``memory_data_param`` of the data layer, where it has another meaning only in MemoryData layers.
    """
    source = ScoringSource(config, net, rows).for_blobs(blobs)
    layers = {one.layer.name for one in source.sources if one.layer.type in ("Data", "ImageData") and not _settles(one)}
    if not layers:
        return net
    try:
        tops = source.plan.layers[0].tops
    except CaffeOnSparkError:  # the TEST net may read other columns than these rows have
        return net
    image, message = tops[0], NetParameter()
    message.CopyFrom(net.message)
    for layer in message.layer:
        if layer.name in layers:
            height, width = image.shape[1:]
            if isinstance(image, ImageTop) and image.resize is not None:
                height, width = image.resize
            param = layer.memory_data_param
            param.channels, param.height, param.width = image.shape[0], height, width
    return replace(net, message=message)
