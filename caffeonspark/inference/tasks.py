"""What inference tasks get to know, and the model that they compute with."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ContextManager, Dict, List, Optional, Sequence, Tuple

from pyspark.accumulators import AccumulatorParam

from ..data.records import BadRecords
from ..data.tops import NumberTop
from ..engines.blas import check_setting
from ..errors import ConfigError, DataError
from ..formats.checksums import read_checked
from ..formats.endings import ending_of, is_hdf5, with_format
from ..plans.net_plan import NetPlan
from ..plans.passes import fixed_because, pass_size
from ..plans.run_config import RunConfig
from ..plans.weights_match import check_all_there
from ..spark.cluster import tasks_of_a_machine
from ..spark.library_zip import ship_library
from ..spark.workers import inference_environment, worker_environment
from ..storage import find_file
from .models import ModelFile

if TYPE_CHECKING:
    from ..plans.net_source import NetSource

__all__ = [
    "Task",
    "check_model",
    "check_skipped",
    "different_counts",
    "make_task",
    "read_model",
    "row_bytes",
    "task_for",
    "workers_for",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What an inference task gets to know.

    Attributes
    ----------
    engine : name of the engine
    kernel : of -blasKernel
    plan : NetPlan of the TEST phase
    blobs : names of the blobs to return
    model : Spark broadcast of the model file's bytes
    ending : of the model file's name
    digest : names engine, net and model, so that a worker knows its net again
    skipped : Spark accumulator of what was skipped: {layer: [counts by cause, examples]}
    batches : how many a task runs of a net that makes its data itself
    decodes_ahead : whether images may be decoded by a process of their own (-decoders is not 0)
    batch : how many records a pass has
    neighbours : how many tasks a machine runs at once, this one included, as far as Spark's settings say; None where
        they do not
    """

    engine: str
    kernel: str
    plan: NetPlan
    blobs: Tuple[str, ...]
    model: Any
    ending: str
    digest: str
    skipped: Any
    batches: int = 0
    decodes_ahead: bool = False
    batch: int = 0
    neighbours: Optional[int] = None


def task_for(source: NetSource, blobs: Sequence[str]) -> Task:
    """The task of running the plan of ``source`` with the model of ``-model``. Raises as ``read_model``."""
    config, batches = source.run_config, source.batches_to_score()
    path, content = read_model(config, source.plan)
    return replace(_task(config, source.plan, blobs, ModelFile(content, ending_of(path))), batches=batches)


def read_model(config: RunConfig, plan: NetPlan) -> Tuple[str, bytes]:
    """Where the model of ``-model`` is, and its content.

    Raises ConfigError, or DataError, unless it is what was saved and has every parameter of the net.
    """
    check_setting(config.settings.blasKernel)
    path = check_model(config)
    content = read_checked(config.storage, path)
    check_all_there(plan, path, content)
    return path, content


def check_model(config: RunConfig) -> str:
    """Where the file of ``-model`` is. Raises ConfigError where there is none."""
    if not config.settings.scored:
        raise ConfigError("-model is missing: name the model to use")
    return find_model(config)


def find_model(config: RunConfig) -> str:
    """Where the file of ``-model`` is. Raises ConfigError where there is none.

    A solver's ``snapshot_format`` adds ``.h5`` to a model's name or takes it away: the other name counts where there is
    no file of this one, or where ``-train`` has just written it.
    """
    model = config.settings.scored
    other = with_format(model, not is_hdf5(model))
    names = [model, other]
    if config.settings.train and config.solver is not None and config.model_uri == other:
        names.reverse()
    for name in names:
        with contextlib.suppress(ConfigError):
            return find_file(config.storage, name, "")
    flag = "-model" if config.settings.model else "-weights"
    if "," in model:
        raise ConfigError(f"{flag} {model}: -test and -features take one model, with every layer's parameters")
    return find_file(config.storage, model, f"the model ({flag})")


def make_task(config: RunConfig, plan: NetPlan, blobs: Sequence[str], model: ModelFile) -> Task:
    """The task of running ``plan`` with a model. Raises ConfigError, or DataError, unless it has every parameter of the
    net."""
    model.check(plan)
    return _task(config, plan, blobs, model)


def _task(config: RunConfig, plan: NetPlan, blobs: Sequence[str], model: ModelFile) -> Task:
    engine, kernel = config.settings.engine, check_setting(config.settings.blasKernel)
    net = f"{engine}\0{plan.indexed}\0{model.digest}\0".encode() + plan.content
    context = config.spark.sparkContext
    ship_library(context)
    skipped = context.accumulator({}, _MergeSkipped())
    digest = hashlib.sha256(net).hexdigest()
    return Task(
        engine,
        kernel,
        plan,
        tuple(blobs),
        model.broadcast(context),
        model.ending,
        digest,
        skipped,
        decodes_ahead=config.settings.decoders > 0,
        batch=_pass_size(config, plan, blobs),
        neighbours=tasks_of_a_machine(context),
    )


def _pass_size(config: RunConfig, plan: NetPlan, blobs: Sequence[str]) -> int:
    wanted = config.settings.scoreBatch
    why = fixed_because(plan, blobs) if wanted not in (None, plan.batch_size) else ""
    if why:
        _log.warning(
            "caffeonspark: %s: -scoreBatch %s changes nothing, for %s: passes have %d records",
            plan.path,
            wanted,
            why,
            plan.batch_size,
        )
    return pass_size(plan, blobs, wanted)


class _MergeSkipped(AccumulatorParam[Dict[str, Any]]):
    """Adds up what tasks skipped."""

    def zero(self, value: Dict[str, Any]) -> Dict[str, Any]:
        return {}

    def addInPlace(self, value1: Dict[str, Any], value2: Dict[str, Any]) -> Dict[str, Any]:  # noqa: N802
        merged: Dict[str, Any] = {}
        for name in [*value1, *value2]:
            bad = BadRecords(name)
            for value in (value1, value2):
                if name in value:
                    bad.add(*value[name])
            merged[name] = [bad.counts, bad.examples]
        return merged


def check_skipped(task: Task, good: int) -> List[str]:
    """One line about each layer that skipped records; raises DataError where they were too many."""
    lines = []
    for layer in task.plan.layers:
        if layer.description in task.skipped.value:
            bad = BadRecords(layer.description, layer.bad)
            bad.add(*task.skipped.value[layer.description])
            bad.check(good)
            lines.append(bad.describe(good))
    return lines


def workers_for(config: RunConfig) -> ContextManager[None]:
    """What is handed to Spark meanwhile runs in the workers that ``-blasKernel`` asks for."""
    context = config.spark.sparkContext
    return worker_environment(context, inference_environment(config.settings.blasKernel, context.applicationId))


def row_bytes(plan: NetPlan) -> int:
    """About how many bytes the net takes of a row of its DataFrames: images as they are in memory."""
    tops = [top for layer in plan.layers if layer.count is None for top in layer.tops]
    wide = [top for top in tops if isinstance(top, NumberTop) and top.dtype != "uint8"]
    return sum(math.prod(top.shape) * (4 if top in wide else 1) for top in tops)


def different_counts(found: str) -> DataError:
    """The error for data layers whose numbers of records differ, as ``found`` says."""
    return DataError(
        f"the data layers have different numbers of records, and -test and -features take each record once: {found}"
    )
