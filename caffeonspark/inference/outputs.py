"""Columns that a net adds to a DataFrame, computed when they are used.

A scalar function of pandas batches makes them: the other columns, their metadata, the partitions and their order stay
as they are, Python gets no more columns than the net reads, and a query that uses none of its outputs runs no Python.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..data.records import SAMPLE_ID
from ..data.sources.base import FrameSource
from ..data.sources.frames import check_free
from ..errors import ConfigError
from ..plans.net_plan import NetPlan
from ..spark.arrow_batches import note_large_rows
from .batches import outputs_of, rows_at_once
from .tasks import Task, row_bytes, workers_for

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

    from ..plans.net_source import NetSource

__all__ = ["HANDLE_INVALID", "OutputColumn", "check_outputs", "formed", "with_outputs"]

#: What a row that cannot be used does: it fails the query, is left out, or has null outputs.
HANDLE_INVALID = ("error", "skip", "keep")

_ROWS, _BYTES = 1024, 8 << 20  # after so many, outputs are given to Spark


@dataclass(frozen=True)
class _Form:
    """How a column is made of a blob's values, (n, width) float32.

    Attributes
    ----------
    compute : gives (n, k) for an array, (n,) for a number
    type : Spark's, of what Python gives
    vector : whether an array becomes a Vector
    single : whether the blob has to have a single value for each row
    """

    compute: Callable[[np.ndarray], np.ndarray]
    type: str
    vector: bool = False
    single: bool = False

    @property
    def number(self) -> bool:
        return self.type == "double"


def _pair(other: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def pairs(values: np.ndarray) -> np.ndarray:
        exact = values[:, 0].astype(np.float64)
        return np.stack([other(exact), exact], axis=1)

    return pairs


_FORMS: Dict[str, _Form] = {
    "array": _Form(lambda values: values, "array<float>"),
    "vector": _Form(lambda values: values, "array<float>", vector=True),
    "argmax": _Form(lambda values: values.argmax(axis=1).astype(np.float64), "double"),
    "number": _Form(lambda values: values[:, 0].astype(np.float64), "double", single=True),
    "two_scores": _Form(_pair(lambda score: -score), "array<double>", vector=True, single=True),
    "two_probabilities": _Form(_pair(lambda p: 1 - p), "array<double>", vector=True, single=True),
    "two_argmax": _Form(lambda values: (values[:, 0] > 0).astype(np.float64), "double", single=True),
}


@dataclass(frozen=True)
class OutputColumn:
    """A column that a net adds.

    Attributes
    ----------
    name : of the column
    blob : that it is made of
    form : ``array`` (array<float>), ``vector`` (a Vector), ``argmax`` (the number of the largest value, double), or,
        for a blob with a single value ``x`` a row, ``number`` (double), ``two_scores`` (the Vector [-x, x]),
        ``two_probabilities`` (the Vector [1-x, x]), ``two_argmax`` (double, 1 where x > 0, else 0)
    metadata : of the column in the DataFrame's schema
    """

    name: str
    blob: str
    form: str = "array"
    metadata: Optional[Mapping[str, Any]] = None


def formed(values: np.ndarray, form: str) -> np.ndarray:
    """A blob's values, (n, width) float32, in one of the forms of columns: (n, k) float32 for an array and float64 for
    a Vector, (n,) float64 for a number."""
    found = _FORMS[form].compute(values)
    return found.astype(np.float64) if _FORMS[form].vector else found


def check_outputs(plan: NetPlan, outputs: Sequence[OutputColumn]) -> None:
    """Raise ConfigError for a blob that has more than one value a row where a column takes one."""
    for output in outputs:
        width = plan.width(output.blob)
        if _FORMS[output.form].single and width != 1:
            raise ConfigError(
                f"column '{output.name}' is made of a single number a row, and blob '{output.blob}' of {plan.path} has "
                f"{width}"
            )


def with_outputs(
    frame: DataFrame,
    source: NetSource,
    task: Task,
    outputs: Sequence[OutputColumn],
    handle_invalid: Optional[str] = None,
) -> DataFrame:
    """``frame`` with these columns.

    Parameters
    ----------
    frame : DataFrame, which may be a stream
    source : made with ``frame`` as its DataFrame, for the outputs' blobs
    task : of the source's plan and these blobs
    outputs : in the columns' order; several may be made of one blob
    handle_invalid : one of ``HANDLE_INVALID``: what a row does that cannot be used. By default, what -badRecords says:
        ``fail`` is ``error``, and ``skip`` means null outputs here, where no row is taken away.

    Raises
    ------
    ConfigError
        For columns that are there already, or columns of the frame that cannot be used.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import to_arrow_type

    (reader,) = source.sources
    assert isinstance(reader, FrameSource)
    check_free(frame, [output.name for output in outputs])
    check_outputs(task.plan, outputs)
    note_large_rows(frame.sparkSession, row_bytes(task.plan))
    if handle_invalid is not None:
        task = replace(task, plan=_skipping(task.plan, handle_invalid != "error"))
    columns = reader.columns(frame)
    read = frame.select(*columns).schema
    payload = F.struct(*[column.alias(f"column{number}") for number, column in enumerate(columns)])
    types = [to_arrow_type(field.dataType) for field in read]
    made = list(dict.fromkeys((output.blob, output.form) for output in outputs))
    fields = ", ".join(f"output{number} {_FORMS[form].type}" for number, (_, form) in enumerate(made))

    def run(batches: Iterator[Any]) -> Iterator[Any]:
        yield from _scored(task, made, _as_arrow(batches, read.names, types, rows_at_once(task)))

    hidden = _free_name(frame)
    with workers_for(source.run_config):
        scored = frame.withColumn(hidden, _iterator_udf(run, fields)(payload))
    if handle_invalid == "skip":
        # not a filter, which Spark would push below the function and run it twice
        good = F.col(hidden)["output0"].isNotNull()
        one = _free_name(scored)
        scored = scored.select("*", F.explode(F.when(good, F.array(F.col(hidden)))).alias(one)).drop(hidden)
        hidden = one
    # not selected by their names: columns that share one, and are not used, do no harm
    return scored.withColumns(
        {
            output.name: _column(F.col(hidden)[f"output{made.index((output.blob, output.form))}"], output, task.plan)
            for output in outputs
        }
    ).drop(hidden)


def _column(value: Column, output: OutputColumn, plan: NetPlan) -> Column:
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    metadata = output.metadata
    if _FORMS[output.form].vector:
        value = F.when(value.isNotNull(), array_to_vector(value))
        metadata = metadata or _about_vectors(plan, output)
    return value.alias(output.name, metadata=dict(metadata)) if metadata else value


def _about_vectors(plan: NetPlan, output: OutputColumn) -> Mapping[str, Any]:
    """The metadata by which stages such as VectorAssembler know how long Vectors are, without a look at one."""
    if any(layer.any_size for layer in plan.layers):
        return {}  # they may be as long as their images are large
    size = 2 if _FORMS[output.form].single else plan.width(output.blob)
    return {"ml_attr": {"num_attrs": size}}


def _free_name(frame: DataFrame) -> str:
    name, taken = "_caffe_outputs", {one.lower() for one in frame.columns}
    while name in taken:
        name += "_"
    return name


def _skipping(plan: NetPlan, skip: bool) -> NetPlan:
    layers = tuple(replace(layer, bad=replace(layer.bad, skip=skip)) for layer in plan.layers)
    return replace(plan, layers=layers)


def _iterator_udf(run: Any, schema: str) -> Any:
    """A pandas UDF over batches; its kind is given by type hints that have to be evaluated."""
    import pandas as pd
    from pyspark.sql.functions import pandas_udf

    run.__annotations__ = {"batches": Iterator[pd.DataFrame], "return": Iterator[pd.DataFrame]}
    return pandas_udf(run, schema)


# ---- in the task


def _as_arrow(
    batches: Iterator[pd.DataFrame], names: Sequence[str], types: Sequence[Any], size: int
) -> Iterator[pa.RecordBatch]:
    """The rows with the names of their columns, at most ``size`` at once; rows without names of their own are called by
    their places."""
    import pyarrow as pa
    from pyspark import TaskContext

    context = TaskContext.get()
    part = context.partitionId() if context is not None else 0
    done = 0
    pieces = (batch.iloc[start : start + size] for batch in batches for start in range(0, len(batch), size))
    for rows in pieces:
        columns = [rows.iloc[:, number] for number in range(len(names))]
        arrays = [_arrow_array(column, kind) for column, kind in zip(columns, types)]
        if SAMPLE_ID in names:
            yield pa.RecordBatch.from_arrays(arrays, names=list(names))
        else:
            ids = [f"row {number} of partition {part}" for number in range(done, done + len(rows))]
            yield pa.RecordBatch.from_arrays([pa.array(ids, pa.string()), *arrays], names=[SAMPLE_ID, *names])
        done += len(rows)


def _arrow_array(column: pd.Series, kind: Any) -> pa.Array:
    """A column in Arrow's memory; arrays of numbers as they are, a row at a time instead of number by number."""
    import pyarrow as pa

    rows = column.to_numpy()
    if len(rows) and pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        if all(isinstance(row, np.ndarray) and row.dtype == dtype for row in rows):
            ends = np.cumsum([len(row) for row in rows])
            if ends[-1] < 1 << 31:
                offsets = np.concatenate([[0], ends]).astype(np.int32)
                return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(rows)))
    return pa.Array.from_pandas(column, type=kind)


def _scored(task: Task, made: Sequence[Tuple[str, str]], batches: Iterator[pa.RecordBatch]) -> Iterator[pd.DataFrame]:
    """A frame of outputs for the rows, in their order, as many as there are rows."""
    arrived = sent = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal arrived
        for batch in batches:
            arrived += batch.num_rows
            yield batch

    waiting = _Waiting(made)
    for records, values in outputs_of(task, 0, counted()):
        waiting.add(records.index, values)
        if waiting.rows >= _ROWS or waiting.bytes >= _BYTES:
            end = int(records.index[-1]) + 1
            yield waiting.take(sent, end)
            sent = end
    if sent < arrived:  # the last ones may be rows that cannot be used
        yield waiting.take(sent, arrived)


class _Waiting:
    """Outputs on their way to Spark.

    Attributes
    ----------
    rows, bytes : how many
    """

    def __init__(self, made: Sequence[Tuple[str, str]]) -> None:
        self._made = made
        self._clear()

    def _clear(self) -> None:
        self.rows = self.bytes = 0
        self._index: List[np.ndarray] = []
        self._parts: List[List[np.ndarray]] = [[] for _ in self._made]

    def add(self, index: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """The blobs of the rows with these numbers."""
        self._index.append(index)
        self.rows += len(index)
        for parts, (blob, form) in zip(self._parts, self._made):
            parts.append(_FORMS[form].compute(values[blob]))
            self.bytes += parts[-1].nbytes

    def take(self, start: int, end: int) -> pd.DataFrame:
        """The outputs of rows ``start`` to ``end``, null where there are none."""
        import pandas as pd

        from .lists import lists

        index = np.concatenate([np.zeros(0, np.int64), *self._index]) - start
        missing = np.ones(end - start, bool)
        missing[index] = False
        found = {}
        for number, (parts, (_, form)) in enumerate(zip(self._parts, self._made)):
            if _FORMS[form].number:  # NaN is one too, and no null
                numbers = np.zeros(end - start)
                numbers[index] = np.concatenate([np.zeros(0), *parts])
                found[f"output{number}"] = pd.Series(pd.arrays.FloatingArray(numbers, missing))
            else:
                dtype = "float32" if _FORMS[form].type == "array<float>" else "float64"
                found[f"output{number}"] = lists(parts, index, end - start, dtype)
        self._clear()
        return pd.DataFrame(found)
