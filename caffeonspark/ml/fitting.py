"""A fit: a net trained on a DataFrame, as all the estimators do it."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from pyspark.sql import DataFrame

from ..api.config import Config
from ..causes import explained
from ..data.limits import Limit
from ..data.sources.frames import check_frame
from ..errors import ConfigError, DataError, StorageError
from ..formats.checksums import write_model
from ..formats.endings import ending_of
from ..nets.columns import with_batch_size
from ..nets.freeze import frozen
from ..nets.net import TEST, Net, SolverNets
from ..plans.inputs import check_no_input
from ..plans.net_source import NetSource
from ..plans.run_config import RunConfig
from ..report import display_for, observers_for
from ..report.result import TrainingResult
from ..runs.cancelled import one_interruption_ends_all
from ..runs.fits import under_own_name
from ..runs.kept import folder_unless_needed
from ..runs.run import train
from ..runs.slots import claimed_slots
from ..settings import FLAGS, NOT_PARAMS
from ..sync.registry import strategy_for
from .nets import fed, given_text
from .solver import check_contradictions, iterations_of, with_fields
from .validation import check_parts, check_validation, split

__all__ = ["Fit", "Fitted", "Settled", "fit"]

_PROGRESS = {"auto": True, "none": False}


@dataclass(frozen=True)
class Fit:
    """What an estimator was given.

    Attributes
    ----------
    given : the Params that were set
    defaults : of those that were not
    kind : of model, by which the files of a fit are named
    by_columns : whether featuresCol and labelCol say what fills the net, and not its CoSData layer
    """

    given: Mapping[str, Any]
    defaults: Mapping[str, Any]
    kind: str
    by_columns: bool

    def value(self, name: str) -> Any:
        """Of a Param: what was set, or its default, or None."""
        return self.given.get(name, self.defaults.get(name))

    @property
    def flags(self) -> Dict[str, Any]:
        """The flags among the Params that were set, without conf."""
        return {
            name: value for name, value in self.given.items() if name in FLAGS and name not in ("conf", *NOT_PARAMS)
        }


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Attributes
    ----------
    nets : the nets as they were trained, in both phases
    content : of the model's file
    ending : of its name
    result : TrainingResult
    checked : what ``check`` gave
    """

    nets: SolverNets
    content: bytes
    ending: str
    result: TrainingResult
    checked: Any


@dataclass(frozen=True)
class Settled:
    """A run's configuration as a fit settles it."""

    run_config: RunConfig
    engine: Any

    def load_engine(self) -> Any:
        return self.engine


@one_interruption_ends_all()
def fit(
    about: Fit,
    dataset: DataFrame,
    check: Callable[[Settled, DataFrame], Any],
    limits: Callable[[Net], Mapping[str, Tuple[Limit, ...]]] = lambda net: {},
) -> Fitted:
    """Train.

    Parameters
    ----------
    about : Fit
    dataset : the rows
    check : called with what is settled and the rows, before anything is trained, to find what a model of these nets
        could not do
    limits : gives what the labels of a net have to be, by the blob that they fill

    Raises
    ------
    CaffeOnSparkError
    """
    given = about.given
    _check(about)
    check_frame(dataset)
    named = bool(given.get("model"))
    contents: List[bytes] = []  # of the model, as it comes; the newest last

    def take(path: str) -> None:
        with open(path, "rb") as f:
            contents[:] = [f.read()]

    name = f"{about.kind}_{secrets.token_hex(6)}"  # not the estimator's uid: fits at once may be of one
    progress = _PROGRESS.get(about.value("progress"), about.value("progress"))
    with folder_unless_needed(".solverstate", ".solverstate.h5") as folder, contextlib.ExitStack() as cleanup:
        indicator, fraction = given.get("validationIndicatorCol", ""), given.get("validationFraction", 0.0)
        training, validation = split(dataset, indicator, fraction, about.value("seed"), cleanup)
        session, conf = dataset.sparkSession, given.get("conf")
        asked = Config(session, {**_flags(about, folder), "conf": _conf(session, conf, given.get("net"))})
        display = display_for(asked.run_config, progress, name)
        cleanup.callback(display.close)
        # the looks at rows below are jobs, which would wait for a slot without a word
        cleanup.enter_context(claimed_slots(asked.run_config, name, display.note, threading.Event()))
        settled = _settle(about, asked, training, validation)
        config = settled.run_config
        checked = check(settled, training)
        nets = [(config.nets.train, training)] + ([] if validation is None else [(config.net(TEST), validation)])
        source, *sources = [NetSource(settled, net, rows, limits(net)) for net, rows in nets]
        place = config.model_uri
        config.storage.check_writable(place)
        check_no_input(asked.run_config, place, "model")
        run = under_own_name(config, name) if named else config
        observers = observers_for(run, keep=named, progress=progress, name=name)
        result = train(run, source, sources, observers, take, name)
        if named:
            try:
                write_model(config.storage, place, contents[0])
            except StorageError as e:
                raise StorageError(f"{e.message}; the model is saved as {run.model_uri}") from e
    return Fitted(config.nets, contents[0], ending_of(place), result, checked)


def _flags(about: Fit, folder: str) -> Dict[str, Any]:
    """The flags of the run, without conf; what is of no use afterwards is in ``folder``."""
    given, flags = about.given, about.flags
    if not given.get("model"):
        flags["model"] = "file:" + os.path.join(folder, "model.caffemodel")
        flags.setdefault("keepSnapshots", 1)
    if not given.get("conf"):
        flags.setdefault("shuffle", about.value("shuffle"))
    if given.get("handleInvalid", "error") != "error":  # a row that is kept has null outputs, and nothing to learn
        flags = {"badRecords": "skip", "badRecordsMax": 1.0, **flags}
    return {**flags, **_start(given.get("initialModel", ""), folder)}


def _check(about: Fit) -> None:
    """Raise ConfigError for what no data can mend."""
    given = about.given
    check_contradictions(given)
    check_validation(given)
    if given.get("resume") and not given.get("model"):
        raise ConfigError(
            "resume continues from the newest snapshot next to model, and no model is named: set it, or name a "
            "snapshot and its weights"
        )
    if not given.get("conf") and not given.get("net"):
        raise ConfigError("no net is given: set net (a prototxt, or caffeonspark.nets.mlp(…)), or conf, a solver's")


def _settle(about: Fit, config: Config, training: DataFrame, validation: Optional[DataFrame]) -> Settled:
    """The configuration, with the solver and the nets that are trained."""
    given, validated = about.given, validation is not None
    check_parts(training, validation)
    conf = given.get("conf")
    nets = config.nets
    if about.by_columns:
        size = given.get("batchSize", None if conf else about.value("batchSize"))
        weight = given.get("weightCol", "")
        features, label = (_column(about, name, training) for name in ("featuresCol", "labelCol"))
        nets = fed(nets, training, features, label, weight, size).nets
    elif given.get("batchSize"):
        nets = SolverNets(with_batch_size(nets.train, given["batchSize"]), nets.tests)
    if given.get("freeze"):
        nets = replace(nets, train=replace(nets.train, message=frozen(nets.train.message, given["freeze"])))
    solver = with_fields(config.solver if conf else None, given, about.defaults)
    settled = Settled(replace(config.run_config, solver=solver, nets=nets), config.load_engine())
    if "epochs" in given or (validated and not solver.test_interval):
        with explained("the DataFrame cannot be read"):
            rows = training.count()
        if not rows:
            raise DataError("there is no row to train: the DataFrame is empty")
        batch = NetSource(settled, nets.train, training).sources[0].batch_size
        whole = strategy_for(config.settings, solver.type).whole_data
        samples = rows if whole else batch * config.ranks * max(1, int(solver.iter_size))
        if "epochs" in given:
            solver.max_iter = iterations_of(given["epochs"], rows, samples)
        if validated and not solver.test_interval:  # once an epoch
            solver.test_interval = min(iterations_of(1, rows, samples), int(solver.max_iter))
    return settled


def _column(about: Fit, name: str, rows: DataFrame) -> Any:
    """The columns of a Param: those that are set, or its default, unless a solver's net names others itself."""
    value = about.value(name)
    if name in about.given or not about.given.get("conf"):
        return value
    if isinstance(value, str):
        return value if value in rows.columns else ""
    return value if set(value) <= set(rows.columns) else []


def _conf(session: Any, conf: Any, net: Any) -> Any:
    return given_text(conf, net, Config(session).files) if net else conf


def _start(model: Any, folder: str) -> Dict[str, Any]:
    """The flags of ``initialModel``."""
    if not model:
        return {}
    if not isinstance(model, str):
        path = os.path.join(folder, "initial" + model.caffemodel[1])
        with open(path, "wb") as f:
            f.write(model.caffemodel[0])
        return {"weights": "file:" + path}
    for ending in (".solverstate", ".solverstate.h5"):
        if model.endswith(ending):
            weights = model[: -len(ending)] + ".caffemodel" + ending[len(".solverstate") :]
            return {"snapshot": model, "weights": weights}
    return {"weights": model}
