"""Data sources: what a data layer names, how it is found, and how ranks and tasks read it.

A source lives on the driver. ``open`` looks at its first record and settles the layer's tops; then it offers
either numbered records that executors read by range (``RangeReader``: LMDB, files) or a DataFrame whose rows
Spark brings to the executors (``FrameReader``). Everything executors need is in the reader, which is pickled.

A source of one's own is a subclass of ``FrameSource`` or ``RangeSource``; ``registry`` says how layers name it.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...causes import explained
from ...errors import ConfigError
from ...formats.binary import read_blob
from ...nets.embedded import shown
from ...nets.net import TRAIN, Net
from ...nets.prototxt import Files
from ...storage import Storage, is_local, local_path
from ..decode import MAX_PIXELS
from ..records import SAMPLE_ID, BadRecords, Records
from ..tops import Top
from ..transform import Transform, make_transform
from .frames import check_frame, check_not_stream

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, Row

__all__ = ["FrameReader", "FrameSource", "RangeReader", "RangeSource", "Source", "SourceConfig"]


class RangeReader(ABC):
    """Reads numbered records where it runs."""

    @abstractmethod
    def read(self, start: int, stop: int, step: int, bad: BadRecords) -> Iterator[Records]:
        """The records ``start``, ``start + step``, … below ``stop``, in chunks."""


class FrameReader(ABC):
    """Turns rows into records."""

    @abstractmethod
    def decode(self, batch: pa.RecordBatch, bad: BadRecords) -> Records:
        """The records of an Arrow batch with the source's columns; ``index`` counts from 0 in the batch."""


@dataclass(frozen=True)
class SourceConfig:
    """What data sources may use of a run.

    Attributes
    ----------
    files : finds and reads the files that prototxts name
    storage : reads and writes files by URI
    session : the SparkSession, or None
    resize : whether images are to be resized to what the layer takes (``-resize``)
    reader_options : options of Spark's reader (``-readerOptions``)
    quiet : whether only warnings are to be logged (``-quiet``)
    max_pixels : the most pixels an image may have (``-maxPixels``)
    skip : whether records that cannot be used are skipped (``-badRecords skip``)
    """

    files: Files
    storage: Storage
    session: Any = None
    resize: bool = False
    reader_options: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False
    max_pixels: int = MAX_PIXELS
    skip: bool = False

    def spark(self) -> Any:
        """The SparkSession; raises ConfigError where there is none."""
        if self.session is None:
            raise ConfigError("this Config was made without a SparkSession: use Config(spark, …)")
        return self.session


class Source(ABC):
    """What one data layer names.

    Parameters
    ----------
    config : SourceConfig
    net : Net
        The phase the layer is in.
    layer : LayerParameter

    Attributes
    ----------
    batch_size : int, samples a batch for one rank
    tops : the layer's tops, settled by ``open``
    shuffle : whether the prototxt asks for shuffling
    step : how many records go to a rank together: 1, or a batch where the net's data layers have different batch sizes
    """

    #: The types of layer it reads, each with the name of the layer's message that holds ``source`` and ``batch_size``;
    #: for the first two a layer names its source in ``source_class``.
    layer_types: ClassVar[Mapping[str, str]] = {"MemoryData": "memory_data_param", "CoSData": "cos_data_param"}

    def __init__(self, config: SourceConfig, net: Net, layer: Any) -> None:
        self.config = config
        self.net = net
        self.layer = layer
        self.train = net.phase == TRAIN
        self.batch_size = self._batch_size()
        self.tops: Tuple[Top, ...] = ()
        self.shuffle = False
        self.step = 1

    @property
    def where(self) -> str:
        """File and layer, for errors."""
        return self.net.where(self.layer)

    @property
    @abstractmethod
    def description(self) -> str:
        """What the data is and where, in a few words."""

    @abstractmethod
    def open(self) -> None:
        """Look at the data: raises ConfigError or DataError if it cannot be used, and settles ``tops``."""

    def settle(self) -> bool:
        """Settle ``tops`` without a look at the data: by what the layer says and, where rows are given, by the types of
        their columns. False where only the data tells how large a sample is.

        Raises
        ------
        ConfigError
            For columns that are not there, or whose types cannot fill the tops.
        """
        return False

    def may_have_any_size(self) -> bool:
        """Whether records of other sizes than the first one's can be used, if the net takes them."""
        return False

    def take_any_size(self) -> None:
        """From now on do so: settles ``tops`` again."""
        raise NotImplementedError

    def stated_tops(self) -> Sequence[Tuple[Top, ...]]:
        """What the tops may be, as far as the layer says it without its data: a choice of them, or none where only the
        data tells."""
        return ()

    # ---- helpers for the kinds of source

    def parameters(self) -> Any:
        """The layer's message that holds ``source`` and ``batch_size``."""
        return getattr(self.layer, self.layer_types[self.layer.type])

    def _batch_size(self) -> int:
        size = int(self.parameters().batch_size)
        if size < 1:
            raise ConfigError(f"{self.where}: batch_size must be at least 1")
        return size

    def source_path(self) -> str:
        """The ``source`` field, where it is: next to the prototxt, in the working directory, or as given."""
        given = self.parameters().source
        if not given:
            raise ConfigError(f"{self.where}: source is missing: name the data")
        return self.config.files.find(given, beside=self.net.path) or given

    def path_on_nodes(self, found: str, what: str) -> str:
        """The path of a file or folder that executors open themselves. Raises ConfigError unless it is a local one."""
        if not self.config.storage.on_local_disk(found):
            raise ConfigError(
                f"{self.where}: {what} {found}: {self.layer.type} layers read files that are at the same local path on "
                "every node: copy it there, or make a DataFrame or an LMDB of it"
            )
        return os.path.abspath(local_path(found))

    def expect_tops(self, *counts: int) -> None:
        """Raise ConfigError unless the layer has one of these numbers of tops."""
        if len(self.layer.top) not in counts:
            allowed = " or ".join(map(str, counts))
            raise ConfigError(f"{self.where}: {self.layer.type} has {allowed} tops, not {len(self.layer.top)}")

    def mean_of(self, param: Any) -> Optional[np.ndarray]:
        """The array of a TransformationParameter's mean_file, (channels, height, width), or None."""
        if not param.HasField("mean_file"):
            return None
        content = self.config.files.read(param.mean_file, f"{self.where}: mean_file", beside=self.net.path)
        what = f"{self.where}: mean_file {shown(param.mean_file)}"
        mean = read_blob(content, what, "binaryproto")
        if mean.ndim < 3 or mean.size != math.prod(mean.shape[-3:]):
            found = "x".join(map(str, mean.shape))
            raise ConfigError(f"{what} is {found}: it has to be one image, channels x height x width")
        mean = mean.reshape(mean.shape[-3:])
        if not np.isfinite(mean).all():
            raise ConfigError(f"{what} holds NaN or infinite values: compute it again, without the records that do")
        return mean

    def transform(self, param: Any) -> Transform:
        """The Transform of a TransformationParameter in this layer's phase."""
        return make_transform(param, self.mean_of(param), self.train, self.where)


class RangeSource(Source):
    """A source with numbered records that any executor can read."""

    @abstractmethod
    def count(self) -> int:
        """How many records there are."""

    @abstractmethod
    def reader(self) -> RangeReader:
        """The reader executors use."""


class FrameSource(Source):
    """A source whose rows Spark brings to the executors.

    Parameters
    ----------
    config, net, layer : as for Source
    given : a DataFrame given in Python to read instead of what ``source`` names

    Raises
    ------
    ConfigError
        Where ``given`` is no DataFrame of Spark's.
    """

    def __init__(self, config: SourceConfig, net: Net, layer: Any, given: Optional[DataFrame] = None) -> None:
        super().__init__(config, net, layer)
        if given is not None:
            check_frame(given, streams=True)
        self.given = given
        self._rows = given

    @abstractmethod
    def load(self) -> DataFrame:
        """The rows as they are stored, in storage order."""

    def stored_path(self) -> str:
        """The ``source`` as Spark's readers take it. Raises ConfigError where nothing is there."""
        path = self.source_path()
        if is_local(path):
            local = os.path.abspath(local_path(path))
            if not os.path.exists(local):
                raise ConfigError(f"{self.where}: source {self.parameters().source} does not exist")
            path = "file://" + local
        elif not self.config.storage.exists(path):
            raise ConfigError(f"{self.where}: source {path} does not exist")
        return path

    def read(self, kind: str) -> DataFrame:
        """What ``source`` names, read by the Spark reader ``kind`` with the options of ``-readerOptions``."""
        path = self.stored_path()
        with explained(f"{self.where}: source {path} cannot be read as {kind}"):
            reader = self.config.spark().read.format(kind).options(**self.config.reader_options)
            rows: DataFrame = reader.load(path)
        return rows

    @abstractmethod
    def columns(self, rows: DataFrame) -> List[Column]:
        """The columns the reader expects, from rows as they are stored: ``SampleID`` (string) first, where rows have
        names of their own."""

    def frame(self) -> DataFrame:
        """The rows with the columns the reader expects. Raises ConfigError for a stream."""
        from pyspark.sql import functions as F

        if self._rows is None:
            self._rows = self.load()
        with explained(f"{self.where}: {self.description}"):
            check_not_stream(self._rows)
            chosen = self._rows.select(*self.columns(self._rows))
            if SAMPLE_ID in chosen.columns:
                return chosen
            return chosen.select(F.monotonically_increasing_id().cast("string").alias(SAMPLE_ID), "*")

    def first(self) -> Optional[Row]:
        """The first row of ``frame``; None where there is none. Raises the library's own errors, whatever it is."""
        with explained(f"{self.where}: {self.description} cannot be read"):
            return self.frame().first()

    def head(self, count: int) -> List[Row]:
        """The first rows of ``frame``, at most ``count``. Raises as ``first``."""
        with explained(f"{self.where}: {self.description} cannot be read"):
            rows: List[Row] = self.frame().head(count)
            return rows

    @abstractmethod
    def reader(self) -> FrameReader:
        """The reader executors use."""
