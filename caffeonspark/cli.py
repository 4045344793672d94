"""The command line: ``caffeonspark FLAGS``, ``spark-submit … scripts/caffeonspark_main.py FLAGS``, and the commands.

A first word without a dash names a command of the table ``COMMANDS`` or a tool; without one, the words are FLAGS.
Every failure is one line on standard error and exit status 1.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

from . import log
from .errors import CaffeOnSparkError, ConfigError, suggest
from .settings import FLAGS
from .spark.jvm import application_attempt
from .spark.session import start_spark
from .spark.yarn import attempt_number
from .storage import join, local_path, parent
from .tools.registry import TOOLS
from .tools.registry import main as run_tool_command

if TYPE_CHECKING:
    from .api.config import Config

__all__ = ["COMMANDS", "NEEDED", "main"]

_log = logging.getLogger(__name__)

_USAGE = """usage: caffeonspark FLAGS
       caffeonspark COMMAND …
       spark-submit [spark options] scripts/caffeonspark_main.py FLAGS

Trains Caffe nets on the executors of a Spark cluster, tests them, and extracts features.
"""

#: What can stand before other words, besides the tools: the module whose ``main(argv)`` gives the exit status, and
#: what it does.
COMMANDS: Dict[str, Tuple[str, str]] = {
    "check": ("caffeonspark.tools.check", "Say of solvers and nets what runs, what differs, and what to change"),
    "doctor": ("caffeonspark.tools.doctor", "Look at a cluster as training would use it, and say what to change"),
    "join": ("caffeonspark.tools.join", "Take ranks of a run without Spark that another machine began"),
    "local": ("caffeonspark.tools.local", "Train without Spark, on this machine and on others that join"),
    "pack": ("caffeonspark.deploy.pack", "Pack this Python environment for the nodes of a cluster"),
    "predict": ("caffeonspark.tools.predict", "Say what a net makes of image files, without Spark"),
    "snapshots": ("caffeonspark.tools.snapshots", "List the snapshots and models in a folder, and check their files"),
    "submit": ("caffeonspark.deploy.submit", "Write the spark-submit line for a cluster, and run it"),
    "upgrade": ("caffeonspark.tools.upgrade", "Write a net, solver or model of an older version of Caffe as today's"),
}


#: What needs Spark needs these as well: packages by the names of their modules.
NEEDED = {
    "pyspark": "pyspark",
    "numpy": "numpy",
    "google.protobuf": "protobuf",
    "lmdb": "lmdb",
    "pyarrow": "pyarrow",
    "pandas": "pandas",
    "PIL": "pillow",
    "tqdm": "tqdm",
    "xxhash": "xxhash",
}


def help_text() -> str:
    """What ``-help`` prints."""
    abouts = {**{name: about for name, (_, about) in COMMANDS.items()}, **{n: tool.about for n, tool in TOOLS.items()}}
    lines = [f"  {name:<24}{about}" for name, about in abouts.items()]
    return "\n".join([_USAGE, "Commands (each has its own -help):", *lines, "", FLAGS.help_text()])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit status. SIGTERM and SIGHUP come out as SystemExit."""
    with _signals_end_blocks():
        return _main(list(sys.argv[1:] if argv is None else argv))


@contextlib.contextmanager
def _signals_end_blocks() -> Iterator[None]:
    """Meanwhile SIGTERM, and SIGHUP unless it is ignored (nohup), end this process by way of its ``with`` blocks:
    temporary files go, and Spark is stopped. A run has handlers of its own while ranks train."""

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    mine = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _main(words: List[str]) -> int:
    with contextlib.suppress(AttributeError):  # where the locale's encoding lacks a letter, ? stands for it
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        _check_working_directory()
        if words and not words[0].startswith("-"):
            log.show()
            return _command(words[0])(words[1:])
        if not words or any(word in ("-help", "--help", "-h") for word in words):
            print(help_text())
            return 0 if words else 1
        values = FLAGS.parse_args(words)
        log.show(logging.WARNING if values.get("quiet") else logging.INFO)
        if not (values.get("train") or values.get("test") or values.get("features")):
            raise ConfigError("nothing to do: give -train, -test or -features")
        check_installed(str(values.get("engine", FLAGS["engine"].default)))
        with start_spark() as spark:
            _do(spark, values)
        return 0
    except CaffeOnSparkError as e:
        print(f"caffeonspark: {e.message}", file=sys.stderr)
        return 1
    except ImportError:  # where a command found that out
        missing = _missing()
        if not missing:
            raise
        print(f"caffeonspark: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caffeonspark: interrupted", file=sys.stderr)
        return 130


def _check_working_directory() -> None:
    """Raise ConfigError where it is gone: whatever starts a process, or has a relative path, fails there."""
    try:
        os.getcwd()
    except OSError as e:
        raise ConfigError(f"the working directory is not there any more ({e.strerror}): cd to another one") from None


def _command(name: str) -> Callable[[Sequence[str]], int]:
    """The ``main`` of a command."""
    if name in TOOLS:
        return functools.partial(run_tool_command, name)
    if name in FLAGS:
        raise ConfigError(f"'{name}' is a flag: write it with a dash, -{name}")
    if name not in COMMANDS:
        raise ConfigError(f"no command is called '{name}'. {suggest(name, [*COMMANDS, *TOOLS])}")
    main: Callable[[Sequence[str]], int] = importlib.import_module(COMMANDS[name][0]).main
    return main


def check_installed(engine: str) -> None:
    """Raise ConfigError, which names all that is missing, where a package is not installed that a job needs."""
    told = _missing()
    if not told:
        return
    try:
        from .engines.registry import engine_named

        engine_named(engine).versions()
    except (ConfigError, ImportError) as e:
        told += f"; {e}"
    raise ConfigError(told)


def _missing() -> str:
    """Which packages are missing, in a sentence; "" if none is."""
    missing = [package for module, package in NEEDED.items() if not _is_installed(module)]
    return f"what a job needs is not installed in this Python: pip install {' '.join(missing)}" if missing else ""


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it
        return False


def _do(spark: Any, values: Dict[str, Any]) -> None:
    from .api.config import Config
    from .api.driver import CaffeOnSpark
    from .api.sources import DataSource

    config = Config(spark, values)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    check_before(config, data)
    if config.train:
        train = data.getSource(config, True)
        validation = validation_sources(config)
        if validation:
            cos.trainWithValidation(train, validation)
        else:
            cos.train(train)
    if config.dryRun:
        print("caffeonspark: -dryRun: everything was checked, and all is well", flush=True)
        return
    if config.blobs:
        if config.test:
            _log.warning("caffeonspark: -features and -test are both given: -features is done")
        save_features(cos, config)
    elif config.test:
        save_means(config, cos.test(data.getSource(config, False)))


def validation_sources(config: Config) -> List[Any]:
    """The data of the test nets to run while training."""
    from .plans.net_source import NetSource

    return [NetSource(config, net) for net in config.run_config.validation_nets]


def check_before(config: Config, data: Any) -> None:
    """Raise an error, before anything is trained or computed, for what -test and -features could not do afterwards."""
    if config.blobs:
        check_output(config)
    if not (config.blobs or config.test):
        return
    from .inference.tasks import check_model, read_model

    source = data.getSource(config, False)
    if config.blobs:
        source = source.for_blobs(config.blobs)
    source.batches_to_score()
    if not config.blobs:
        _check_means_place(config)
    if config.train or config.dryRun:
        _ = source.plan  # opens the data and builds the net
    if config.dryRun and not config.train:
        read_model(config.run_config, source.plan)
    elif not config.train:
        check_model(config.run_config)


def _check_means_place(config: Config) -> None:
    """Raise an error where the means of -test cannot be written, or would replace what the run reads."""
    from .plans.inputs import check_no_input

    output, run = str(config.output), config.run_config
    config.storage.check_writable(output)
    check_no_input(run, output, "-output")
    if run.settings.scored and config.storage.place(output) == config.storage.place(run.settings.scored):
        raise ConfigError(f"-output {output} would replace the model: name another place")


def check_output(config: Config) -> None:
    """Raise ConfigError, before anything is computed, where -features cannot be written."""
    output = str(config.output)
    if config.storage.exists(output) and not _left_over(config):
        raise ConfigError(f"-output {output} exists already: remove it, or name another place")


def _left_over(config: Config) -> bool:
    """Whether ``-output`` is what an earlier attempt of this application wrote of it, when YARN ended it."""
    mark = _mark(config)
    return bool(mark and attempt_number(config.spark().sparkContext) > 1 and config.storage.exists(mark))


def _mark(config: Config) -> str:
    """The file next to ``-output`` that says that this application writes there; "" where it has one attempt only.

    What is there without it was there before: another job's, however much it looks like what this one writes.
    """
    context = config.spark().sparkContext
    if application_attempt(context) is None:
        return ""
    output = str(config.output).rstrip("/")
    return join(parent(output), f".{output[len(parent(output)) :].lstrip('/:')}.{context.applicationId}")


def save_features(cos: Any, config: Config) -> None:
    from .api.sources import DataSource
    from .inference.features import small_batches

    output = str(config.output)
    source = DataSource(config.spark()).getSource(config, False)
    check_output(config)
    if config.storage.exists(join(output, "_SUCCESS")):
        _log.warning("caffeonspark: %s was written by an earlier attempt", output)
        return
    mark = _mark(config)
    if mark:
        config.storage.create(mark, b"")
    target = "file://" + os.path.abspath(local_path(output)) if output.startswith("file:") else output
    mode = "overwrite" if _left_over(config) else "errorifexists"
    with small_batches(source.for_blobs(config.blobs)):
        cos.features(source).write.format(config.outputFormat).mode(mode).save(target)
    if cos.task.skipped.value:
        from .inference.tasks import check_skipped

        saved = config.spark().read.format(config.outputFormat).load(target).count()
        for line in check_skipped(cos.task, saved):
            _log.warning(line)
    if mark:
        with contextlib.suppress(CaffeOnSparkError):  # what was asked for is done
            config.storage.remove(mark)


def save_means(config: Config, means: Dict[str, List[float]]) -> None:
    """Print the means and write them to ``-output``, one ``name: v1,v2`` line for each blob."""
    text = "".join(f"{name}: {','.join(repr(value) for value in values)}\n" for name, values in means.items())
    print(text, end="", flush=True)
    config.storage.write(str(config.output), text.encode())


if __name__ == "__main__":  # so scripts/environment/build.py starts it
    sys.exit(main())
