"""The data layers of one phase of a net: where their data comes from, and the plan that is made of them."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..data.limits import Limit
from ..data.records import BadRecordPolicy
from ..data.sources.base import FrameSource, RangeSource, Source
from ..data.sources.registry import make_source
from ..data.tops import Top
from ..errors import ConfigError
from ..nets.net import Net
from .indices import follow_indices
from .inspection import Inspection, NetInspector
from .layer_names import parameters_by_name
from .made_data import axes_by_size, batches_to_score, made_batch
from .net_files import embed_files
from .net_plan import LayerPlan, NetPlan, units_of
from .run_config import Configured, RunConfig
from .sample_weights import limits_of_weights, weighted_losses

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["NetSource", "NetSourceWithoutSpark"]


class NetSource:
    """The data layers of one phase of a net, and where their data comes from.

    Attributes
    ----------
    config : whose ``run_config`` says how the data is read, as it is when the plan is made
    net : Net
    sources : one Source for each data layer, in the order they stand; none for a net that makes its data itself
    limits : what the values of tops have to be, by the tops' names, in addition to what the net's layers ask of them
    """

    later = False  # whether the layers' data, where no DataFrame is given, come from another place than they name
    without_spark = False  # whether ranks read all of it themselves

    def __init__(
        self,
        config: Configured,
        net: Net,
        dataframe: Optional[DataFrame] = None,
        limits: Mapping[str, Tuple[Limit, ...]] = MappingProxyType({}),
    ) -> None:
        self.config = config
        self.net = net
        self.limits = limits
        layers, made = net.data_layers(), net.made_layers()
        if not layers and not made:
            raise ConfigError(f"{net.path}: the net has no data layer in the {net.phase_name} phase")
        if dataframe is not None and not layers:
            raise ConfigError(
                f"{net.where(made[0])} ({made[0].type}) makes the net's data, which a DataFrame cannot stand for: use "
                "a CoSData layer"
            )
        if dataframe is not None and len(layers) > 1:
            raise ConfigError(
                f"{net.path}: layer '{layers[0].name}': a DataFrame can only stand for the data of a net's single data "
                "layer"
            )
        for_sources = config.run_config.for_sources
        self.sources: List[Source] = [
            make_source(for_sources, net, layer, dataframe, self.later, self.without_spark) for layer in layers
        ]
        if len({source.batch_size for source in self.sources}) > 1:
            for source in self.sources:
                source.step = source.batch_size
        self._dataframe = dataframe
        self._plan: Optional[NetPlan] = None

    def for_blobs(self, blobs: Sequence[str]) -> NetSource:
        """The same data for the part of the net that these blobs depend on. Raises ConfigError for unknown blobs."""
        self.net.check_blobs(blobs)
        return type(self)(self.config, self.net.pruned(blobs), self._dataframe, self.limits)

    def batches_to_score(self) -> int:
        """How many batches -test and -features take of a net that makes its data itself; 0 for others.

        Raises ConfigError where the solver does not say.
        """
        return 0 if self.sources else batches_to_score(self.net, self.run_config.solver.test_iter)

    def __repr__(self) -> str:
        what = [s.description for s in self.sources] or [f"made by '{one.name}'" for one in self.net.made_layers()]
        return f"NetSource({self.net.phase_name}: {', '.join(what)})"

    @property
    def run_config(self) -> RunConfig:
        """The run's configuration, as it is now."""
        return self.config.run_config

    @property
    def plan(self) -> NetPlan:
        """The plan for executors; opens the sources the first time."""
        if self._plan is None:
            self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> NetPlan:
        engine = self.config.load_engine()
        self.net.check(engine.layer_types())
        self._open()
        layers = tuple(self._layer_plan(source) for source in self.sources)
        message = self.net.with_inputs([list(layer.shapes().items()) for layer in layers])
        embed_files(self.net, message, self.run_config.files, self.run_config.session)
        found = self._inspect(engine, message, layers)
        if self._take_any_size(engine, message):
            layers = tuple(self._layer_plan(source) for source in self.sources)
        tops = [top for layer in layers for top in layer.tops]
        by_indices, indexed = follow_indices(message, found.shapes, tops)
        weighted = weighted_losses(self.net, message, tops, found, engine.weighable_losses())
        limits = (by_indices, limits_of_weights(weighted), self.limits)
        layers = tuple(replace(layer, tops=tuple(_limited(top, limits) for top in layer.tops)) for layer in layers)
        weights = parameters_by_name(self.net, message, found.layers)
        return NetPlan(
            content=message.SerializeToString(),
            path=self.net.path,
            layers=layers,
            outputs=tuple(self.net.output_blobs()),
            shapes=found.shapes,
            batch_axes=found.batch_axes,
            flexible=found.flexible,
            parameters=found.parameters,
            indexed=indexed,
            weights=weights,
            made_batch=0 if layers else made_batch(self.net, found.shapes),
            weighted=weighted,
        )

    def _open(self) -> None:
        """Have every source settle its tops."""
        for source in self.sources:
            source.open()

    def _inspect(self, engine: NetInspector, message: Any, layers: Sequence[LayerPlan]) -> Inspection:
        """What the engine finds. Passes are always whole where a net makes its data, and where its data layers have
        different batch sizes."""
        entries = {layer.batch_size: layer.batch_size // units_of(layers) for layer in layers}
        larger: Dict[str, Tuple[int, ...]] = {}
        for layer in layers:
            larger.update(layer.shapes(layer.batch_size + entries[layer.batch_size]))
        found = engine.inspect(message, larger, layers[0].batch_size if layers else 0, self.net.path)
        if not layers:
            axes = axes_by_size(found.shapes, {made_batch(self.net, found.shapes): 1})
            return replace(found, flexible=False, batch_axes=axes)
        if len(entries) > 1:
            by_size = None if found.flexible else axes_by_size(found.shapes, entries)
            return replace(found, flexible=False, batch_axes=found.batch_axes if by_size is None else by_size)
        return found

    def _take_any_size(self, engine: NetInspector, message: Any) -> bool:
        """Let images have any size where the layers may and the net can: whether there are such layers."""
        sources = [source for source in self.sources if source.may_have_any_size()]
        images = [source.tops[0] for source in sources]
        other = {top.name: (1, top.shape[0], 2 * top.shape[1], 2 * top.shape[2]) for top in images}
        if not other or not engine.inspect(message, other, 1, self.net.path).flexible:
            return False
        for source in sources:
            source.take_any_size()
        return True

    def _layer_plan(self, source: Source) -> LayerPlan:
        assert isinstance(source, (RangeSource, FrameSource))
        settings = self.run_config.settings
        return LayerPlan(
            name=source.layer.name,
            description=f"{source.where}: {source.description}",
            tops=source.tops,
            batch_size=source.batch_size,
            shuffle=source.shuffle or settings.shuffle,
            reader=source.reader(),
            count=source.count() if isinstance(source, RangeSource) else None,
            bad=BadRecordPolicy(settings.badRecords == "skip", settings.badRecordsMax),
            step=source.step,
        )


class NetSourceWithoutSpark(NetSource):
    """The same where there is no Spark: rows are read from parquet files. Raises ConfigError for what takes Spark."""

    without_spark = True


def _limited(top: Top, limits: Sequence[Mapping[str, Tuple[Limit, ...]]]) -> Top:
    found = tuple(limit for some in limits for limit in some.get(top.name, ()))
    return replace(top, limits=found) if found else top
