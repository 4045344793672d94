"""Sources of a user's own from the two bases: numbered records that executors read, and rows with a reader."""

import dataclasses

import numpy as np

from caffeonspark import (
    BadRecord,
    ConfigError,
    DataError,
    FrameReader,
    FrameSource,
    NumberTop,
    RangeReader,
    RangeSource,
    Records,
)


@dataclasses.dataclass(frozen=True)
class LineReader(RangeReader):
    """Reads lines ``pixels… label`` of a text file."""

    path: str
    pixels: int
    tops: int

    def read(self, start, stop, step, bad):
        with open(self.path) as f:
            lines = f.read().splitlines()
        for number in range(start, stop, step):
            try:
                values = np.array(lines[number].split(), np.float32)
                if len(values) != self.pixels + 1:
                    raise ValueError(f"has {len(values)} numbers")
            except ValueError as e:
                bad.report(BadRecord(f"line {number}", "damaged line", f"line {number} {e}"))
                continue
            pixels = np.clip(values[:-1], 0, 255).astype(np.uint8)
            columns = [pixels.reshape(1, 1, 1, -1), values[-1:]]
            yield Records([f"line {number}"], columns[: self.tops], np.array([number], np.int64))


class Lines(RangeSource):
    """source_class: "own_records.Lines", in a MemoryData layer of images of one row."""

    @property
    def description(self):
        return f"lines of {self.parameters().source}"

    def open(self):
        self.expect_tops(1, 2)  # features that need no label leave its top out
        param = self.parameters()
        self.path = self.path_on_nodes(self.source_path(), "the text file")
        with open(self.path) as f:
            self.lines = len(f.read().splitlines())
        if not self.lines:
            raise DataError(f"{self.where}: {self.description} is empty")
        if param.height != 1:
            raise ConfigError(f"{self.where}: a line is an image of height 1, in the {self.net.phase_name} net")
        self.shuffle = self.train
        shape = (1, 1, int(param.width))
        transform = self.transform(self.layer.transform_param)
        tops = [NumberTop(self.layer.top[0], shape, dtype="uint8", transform=transform)]
        self.tops = (*tops, *(NumberTop(label, ()) for label in self.layer.top[1:]))

    def count(self):
        return self.lines

    def reader(self):
        return LineReader(self.path, int(self.parameters().width), len(self.tops))


@dataclasses.dataclass(frozen=True)
class PairReader(FrameReader):
    """Reads two columns of numbers."""

    def decode(self, batch, bad):
        ids = batch.column("SampleID").to_pylist()
        pairs = np.stack([batch.column(name).to_numpy() for name in ("x", "y")], axis=1).astype(np.float32)
        good = np.isfinite(pairs).all(axis=1)
        for row in np.flatnonzero(~good):
            bad.report(BadRecord(ids[row], "not finite", f"row {ids[row]} is not finite"))
        labels = (pairs[:, 0] > pairs[:, 1]).astype(np.float32)
        return Records(ids, [pairs, labels], np.arange(len(ids), dtype=np.int64)).keep(np.flatnonzero(good))


class Pairs(FrameSource):
    """source_class: "own_records.Pairs", in a CoSData layer: its source is a file that Spark reads."""

    @property
    def description(self):
        return f"pairs in {self.stored_path()}"

    def open(self):
        self.expect_tops(2)
        self.tops = (NumberTop(self.layer.top[0], (2,)), NumberTop(self.layer.top[1], ()))

    def load(self):
        return self.read(self.parameters().dataframe_format)

    def columns(self, rows):
        return [rows.id.cast("string").alias("SampleID"), rows.x.cast("double"), rows.y.cast("double")]

    def reader(self):
        return PairReader()
