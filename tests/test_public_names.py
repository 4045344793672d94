"""Every name that README.md and the pages show to users: it is what they say, and some test uses it.

Names that other tests use are in the table ``USED``; the tests below use the rest. A page that shows a new name, or no
longer shows one, fails here.
"""

import ast
import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import caffeonspark
from caffeonspark import CaffeEstimator, CaffeOnSpark, Config, ConfigError, DataError, DataSource
from caffeonspark.data.sources import registry as sources
from caffeonspark.engines import registry as engines
from caffeonspark.settings import FLAGS
from caffeonspark.sync import registry as strategies
from caffeonspark.tools.local import OWN_FLAGS
from caffeonspark.tools.registry import TOOLS
from tests.support import stock
from tests.support.paths import ROOT
from tests.support.prototxts import PHASES

README, DATA, METRICS = "README.md", "docs/data.md", "docs/metrics.md"
DOCTOR = "docs/doctor.md"
BAD_RECORDS, CONVERT = "docs/bad-records.md", "docs/tools.md"
MONITORING, SECURITY, YARN = "docs/monitoring.md", "docs/security.md", "docs/yarn.md"
EXTENDING, DEPLOY, PREDICT = "docs/extending.md", "docs/deploy-nets.md", "docs/predict.md"
ML, MODES, RUNS, RESUME = "docs/ml.md", "docs/modes.md", "docs/runs.md", "docs/resume.md"
LMDB, DATAFRAME, MIGRATION = "docs/train-lmdb.md", "docs/train-dataframe.md", "docs/migration.md"
STANDALONE, DATA_SETS, NETS = "docs/standalone.md", "data/README.md", "prototxt/README.md"
PAGES = [README, DATA_SETS, NETS, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
TOP = ("caffeonspark", "tests", "scripts", "benchmarks")
CODE_PAGES = ["docs/architecture.md", "docs/decisions.md"]

# (what a page shows, the page, a test that uses it, what is to be found in that test's file)
USED = [
    # ---- Python
    (
        "import CaffeClassifier, CaffeOnSpark, Config, DataSource, nets",
        README,
        "inference/test_inference.py",
        "CaffeOnSpark(spark)",
    ),
    ("Config(spark, conf=", README, "api/test_config.py", "Config(spark"),
    ("import caffeonspark.compat", README, "compat/test_compat.py", "import caffeonspark.compat"),
    ("caffeonspark.compat", MIGRATION, "compat/test_compat.py", "from caffeonspark.compat import"),
    ("DataSource(spark)", README, "data/test_sources.py", "DataSource(spark)"),
    ("data.getSource(cfg, True)", README, "data/test_sources.py", "getSource(config, True)"),
    ("data.getSource(cfg, False)", README, "data/test_sources.py", "getSource(config, False)"),
    ("dataframe=frame", DATAFRAME, "test_public_names.py", "dataframe=given"),
    ("cos.trainWithValidation(", README, "data/test_sources.py", "cos.trainWithValidation("),
    ("cos.test(", README, "data/test_sources.py", "cos.test("),
    ("cos.features(", LMDB, "data/test_sources.py", "cos.features("),
    ("cfg.features = ", LMDB, "data/test_sources.py", "config.features = "),
    ("from caffeonspark import CaffeEstimator, CaffeModel", ML, "ml/test_estimator.py", "CaffeModel.load("),
    (
        "from caffeonspark import CaffeClassifier, nets",
        ML,
        "ml/test_classification.py",
        "import CaffeClassificationModel, CaffeClassifier",
    ),
    ("CaffeAutoencoder(net=nets.stacked_autoencoder(", ML, "ml/test_autoencoder.py", "CaffeAutoencoder("),
    ("CaffeModel.fromSparkMLP(", ML, "ml/test_spark_mlp.py", "CaffeModel.fromSparkMLP("),
    ("caffeonspark.nets", "docs/nets.md", "nets/test_models.py", "caffeonspark.nets"),
    ("nets.mlp(", ML, "ml/test_classification.py", "nets.mlp("),
    ("model.evaluate(test)", ML, "ml/test_classification.py", "model.evaluate("),
    ("model.summary.history", ML, "ml/test_classification.py", "summary.history"),
    ("model.weights()", ML, "ml/test_classification.py", ".weights()"),
    ("model.predict(features)", ML, "ml/test_classification.py", "model.predict("),
    ("CaffeClassifier(net=nets.mlp(", README, "ml/test_classification.py", "CaffeClassifier("),
    *[
        (
            "from caffeonspark import CaffeOnSpark, Config, DataSource",
            page,
            "inference/test_inference.py",
            "CaffeOnSpark(spark)",
        )
        for page in (LMDB, DATAFRAME)
    ],
    *[
        ("from caffeonspark import CaffeClassifier", page, "ml/test_classification.py", "CaffeClassifier(")
        for page in (DATAFRAME, "docs/fine-tune.md", "docs/search.md")
    ],
    *[
        ("import CaffeClassifier, nets", page, "ml/test_classification.py", "nets.mlp(")
        for page in (DATAFRAME, "docs/search.md")
    ],
    ("import caffeonspark.compat", MIGRATION, "compat/test_compat.py", "import caffeonspark.compat"),
    ("caffeonspark.Strategy", "docs/ranks.md", "support/own_strategy.py", "class Alone(Strategy)"),
    ("CaffeEstimator(conf=", ML, "ml/test_estimator.py", "CaffeEstimator(conf="),
    (".fit(train)", ML, "ml/test_estimator.py", ".fit(frame)"),
    ("model.transform(", ML, "ml/test_estimator.py", "model.transform("),
    ("model.save(", ML, "ml/test_estimator.py", "model.save("),
    ("CaffeModel.load(", ML, "ml/test_estimator.py", "CaffeModel.load("),
    ("caffeonspark.FrameSource", DATA, "support/own_records.py", "class Pairs(FrameSource)"),
    ("`caffeonspark.FrameSource` or `RangeSource`", DATA, "support/own_records.py", "class Lines(RangeSource)"),
    ("`FrameSource`", DATA, "support/own_records.py", "class Pairs(FrameSource)"),
    ("`RangeSource`", DATA, "support/own_records.py", "class Lines(RangeSource)"),
    (
        "from caffeonspark import DataFrameSource",
        DATA,
        "support/own_source.py",
        "Squares(DataFrameSource)",
    ),
    ("def load(self):", DATA, "support/own_source.py", "def load(self):"),
    ("self.config.spark()", DATA, "support/own_source.py", "self.config.spark()"),
    ("from caffeonspark import Config, run_tool", CONVERT, "tools/test_tools.py", "run_tool(name, Config(spark)"),
    ("`CaffeModel.transform` has nulls", BAD_RECORDS, "data/test_bad_records.py", ".transform("),
    (
        "import CaffeModel, CaffeOnSpark, Config, DataSource",
        DEPLOY,
        "inference/test_deploy_nets.py",
        "DataSource(spark)",
    ),
    ("CaffeModel.fromNet(spark, net=", DEPLOY, "inference/test_deploy_nets.py", "CaffeModel.fromNet(spark, net="),
    ("CaffeModel.fromNet(spark, net=", README, "inference/test_deploy_nets.py", "CaffeModel.fromNet(spark, net="),
    ("from caffeonspark import CaffeModel", PREDICT, "ml/test_local.py", "CaffeModel.loadLocal("),
    ("CaffeModel.fromCaffe(", PREDICT, "ml/test_local.py", "CaffeModel.fromCaffe("),
    ("model.predict(", PREDICT, "ml/test_local.py", "model.predict("),
    ("model.predictProbability(", PREDICT, "ml/test_local.py", "model.predictProbability("),
    ("model.saveCaffe(", PREDICT, "ml/test_caffe_files.py", "model.saveCaffe("),
    ("model.weights()", PREDICT, "ml/test_caffe_files.py", "model.weights()"),
    ("model.toFeatureExtractor(", PREDICT, "ml/test_local_and_spark.py", "loaded.toFeatureExtractor("),
    ("caffeonspark predict", PREDICT, "tools/test_predict_command.py", '"predict"'),
    ("from caffeonspark import Config, export_model", DEPLOY, "tools/test_export.py", "export_model(config"),
    ("caffeonspark export", README, "tools/test_export.py", '"export"'),
    ("caffeonspark export", DEPLOY, "tools/test_export.py", '"export"'),
    ("caffeonspark.read_metrics(path)", METRICS, "report/test_metrics.py", "read_metrics(str("),
    ("from caffeonspark import read_metrics", METRICS, "report/test_monitoring.py", "    read_metrics,"),
    ("`FrameReader`", DATA, "support/own_records.py", "class PairReader(FrameReader)"),
    ("`RangeReader`", DATA, "support/own_records.py", "class LineReader(RangeReader)"),
    ("`Records`", DATA, "support/own_records.py", "Records("),
    ("`BadRecord`", DATA, "support/own_records.py", "BadRecord("),
    ("`NumberTop`", DATA, "support/own_records.py", "NumberTop("),
    ("`ImageTop`", DATA, "data/test_bad_records.py", "ImageTop("),
    ("from caffeonspark import CaffeOnSpark, Observer", MONITORING, "report/test_monitoring.py", "Broken(Observer)"),
    ("caffeonspark.sources", EXTENDING, "test_extending.py", "make_source"),
    ("caffeonspark.engines", EXTENDING, "test_extending.py", "engine_named"),
    ("caffeonspark.strategies", EXTENDING, "test_extending.py", "strategy_for"),
    ("caffeonspark.Strategy", EXTENDING, "support/own_strategy.py", "class Alone(Strategy)"),
    ("`Progress`", EXTENDING, "support/own_strategy.py", "return Progress("),
    ("`Communicator`", EXTENDING, "support/own_strategy.py", "self.comm.broadcast"),
    ("caffeonspark.formats", EXTENDING, "engines/toy_engine.py", "from caffeonspark.formats"),
    ("caffeonspark.Engine", EXTENDING, "test_extending.py", "Engine"),
    ("`Trainer` and `Predictor`", EXTENDING, "engines/toy_engine.py", "class Regression(Trainer)"),
    ("`DataFrameSource`", EXTENDING, "support/own_source.py", "Squares(DataFrameSource)"),
    ("`pack_image`", DATA, "data/test_bad_records.py", "pack_image("),
    ("observers=[best]", MONITORING, "report/test_monitoring.py", "observers=[broken, listener]"),
    ('logging.getLogger("caffeonspark")', MONITORING, "test_public_surface.py", "logging.getLogger('caffeonspark')"),
    ("web=True", MONITORING, "report/test_monitoring.py", "web=True"),
    ('CaffeEstimator(conf=…, web="8080")', MONITORING, "report/test_monitoring.py", "CaffeEstimator(conf="),
    # ---- commands
    ("caffeonspark -help", README, "test_cli.py", 'run("-help")'),
    ("scripts/caffeonspark_main.py", README, "report/test_progress_bar.py", "caffeonspark_main.py"),
    ("caffeonspark pack", README, "deploy/test_pack.py", "pack"),
    ("caffeonspark submit", README, "deploy/test_submit.py", "submit"),
    ("caffeonspark snapshots FOLDER", RESUME, "tools/test_snapshots_command.py", '"snapshots"'),
    ("caffeonspark doctor", DOCTOR, "tools/test_doctor_command.py", '"doctor"'),
    ("caffeonspark upgrade old_net.prototxt", "docs/old-prototxt.md", "tools/test_upgrade_command.py", '"upgrade"'),
    ("--dry-run", YARN, "deploy/test_submit.py", "--dry-run"),
    ("--no-check", YARN, "deploy/test_submit.py", "--no-check"),
    ("caffeonspark LMDB2DataFrame", CONVERT, "tools/test_tools.py", '"LMDB2DataFrame"'),
    ("python -m caffeonspark.report", MONITORING, "test_formats_before.py", '"caffeonspark.report"'),
    ("python -m benchmarks monitoring", MONITORING, "test_public_names.py", '"benchmarks"'),
    ("make demo", README, "test_demo.py", '"demo"'),
    ("scripts/mini-hadoop start", YARN, "yarn/conftest.py", "mini-hadoop"),
    ("data/make_digits.py", DATA_SETS, "tools/test_datasets.py", "make_digits"),
    ("make_mnist.py", DATA_SETS, "tools/test_datasets.py", "make_mnist"),
    ("make_cifar10.py", DATA_SETS, "tools/test_datasets.py", "make_cifar10"),
    ("caffeonspark.Strategy", MODES, "support/own_strategy.py", "class Alone(Strategy)"),
    ("-sync average", MODES, "sync/test_runs.py", 'sync="average"'),
    ("-sync elastic", MODES, "sync/test_runs.py", 'params=["average", "elastic"]'),
    ("-averageHistory", MODES, "sync/test_averaging.py", '"averageHistory": True'),
    ("-elasticAlpha", MODES, "sync/test_averaging.py", '"elasticAlpha": 0.05'),
    ("`rank_losses`", METRICS, "sync/test_runs.py", '"rank_losses"'),
    ("lenet_iter_500.rank1.solverstate", RESUME, "sync/test_runs.py", '"rank1.solverstate"'),
    # ---- the environment
    ("CAFFEONSPARK_DEBIAN_MIRROR", "docs/install.md", "test_public_names.py", '"CAFFEONSPARK_DEBIAN_MIRROR"'),
    ("HADOOP_CONF_DIR", YARN, "deploy/test_submit.py", "HADOOP_CONF_DIR"),
    ("SPARK_DIST_CLASSPATH", YARN, "deploy/test_submit.py", "SPARK_DIST_CLASSPATH"),
    ("SPARK_LOCAL_HOSTNAME", SECURITY, "runs/test_security.py", "SPARK_LOCAL_HOSTNAME"),
    # ---- files next to a model
    ("lenet.metrics.jsonl", MONITORING, "runs/test_training.py", "metrics.jsonl"),
    ("lenet.caffemodel.sha256", RUNS, "runs/test_training.py", "sha256"),
    ("lenet.curve.html", MONITORING, "runs/test_training.py", "curve.html"),
    ("lenet.curve.png", MONITORING, "runs/test_training.py", "curve.png"),
    ("`/state`", MONITORING, "report/test_web.py", "/state"),
]


@pytest.mark.parametrize(("shown", "page", "file", "use"), USED)
def test_what_pages_show_is_used_in_tests(shown, page, file, use):
    assert shown in (ROOT / page).read_text(), f"{page} does not show it any more"
    found = (ROOT / "tests" / file).read_text().count(use)
    assert found > (file == pathlib.Path(__file__).name), (
        f"tests/{file} does not use it any more"
    )  # the table has it, too


# ---- and nothing is shown that is not in the table


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


def shown_imports():
    """(page, module, name) of every import from the library in the pages' Python."""
    for page in PAGES:
        for block in python_blocks(page):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "caffeonspark":
                    for alias in node.names:
                        yield page, node.module, alias.name


def shown_paths():
    """(page, dotted path) of everything called caffeonspark.… in the pages; files and entry-point groups are not."""
    groups = [room.ENTRY_POINTS for room in (sources, engines, strategies)]
    others = ("caffeonspark.dist", "caffeonspark.git", *groups)
    for page in PAGES:
        for path in sorted(set(re.findall(r"(?<![\w./-])caffeonspark(?:\.[A-Za-z_]\w*)+", (ROOT / page).read_text()))):
            if path not in others:
                yield page, path


def find(path):
    """The object of a dotted path: a module, or something in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def test_imports_in_the_pages():
    found = list(shown_imports())
    assert {name for _, _, name in found} >= {"CaffeOnSpark", "Config", "DataSource", "CaffeEstimator", "CaffeModel"}
    for page, module, name in found:
        thing = getattr(importlib.import_module(module), name)
        assert callable(thing) or inspect.ismodule(thing)
        rows = [row for row in USED if row[1] == page and name in row[0]]
        assert rows, f"{page} shows {name}, which the table above does not have"
        if module == "caffeonspark":
            assert name in caffeonspark.__all__


@pytest.mark.parametrize(("page", "path"), shown_paths())
def test_dotted_paths_in_the_pages(page, path):
    assert find(path) is not None
    assert any(path in row[0] for row in USED if row[1] == page), f"{page} shows {path}, which the table does not have"


def test_source_files_in_the_pages():
    """Except in the pages about the code itself, which the next test looks after."""
    for page in PAGES:
        if page not in CODE_PAGES:
            for name in re.findall(r"`(caffeonspark/[\w/.]+\.\w+)`", (ROOT / page).read_text()):
                assert (ROOT / name).exists(), (page, name)
        for name in re.findall(r"(?<![\w./])scripts/[\w-]+(?:\.py)?", (ROOT / page).read_text()):
            assert (ROOT / name).exists(), (page, name)


@pytest.mark.parametrize("page", CODE_PAGES)
def test_modules_in_the_pages_about_the_code_exist(page):
    """`runs/run.py` is in the library, `tests/…` at the root; a bare `run.py` is somewhere in the library."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.S)
    anywhere = {path.name for path in (ROOT / "caffeonspark").rglob("*.py*")}
    for name in re.findall(r"`([\w/.]+\.pyi?|[\w/.]+/)`", text):
        place = ROOT / name if name.split("/")[0] in TOP else ROOT / "caffeonspark" / name
        assert place.exists() or name in anywhere or name == "caffe_pb2.py", (page, name)


def test_every_package_is_on_the_page_about_the_code():
    page = (ROOT / "docs/architecture.md").read_text()
    for path in (ROOT / "caffeonspark").iterdir():
        if (path / "__init__.py").exists():
            assert f"| `{path.name}/` |" in page, path.name


def test_flags_in_the_pages_exist():
    """Every `-flag` in the pages is one of ours (-train), or of one of the tools (-imageRoot)."""
    known = {*FLAGS, *OWN_FLAGS, *(name for tool in TOOLS.values() for name in tool.flags), "help"}
    of_others = {"backend"}  # Caffe's convert_imageset
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.S)
        for words in re.findall(r"`(-[A-Za-z][^`]*)`", text):
            name = words.split()[0].lstrip("-").partition("=")[0]
            if not words.startswith(("--", "-D", "-m")):
                assert name in known | of_others, (page, words)


def test_every_tool_is_shown_and_used():
    page, tests = (ROOT / CONVERT).read_text(), (ROOT / "tests" / "tools" / "test_tools.py").read_text()
    for name in ("test_datasets", "test_export"):
        tests += (ROOT / "tests" / "tools" / f"{name}.py").read_text()
    assert CONVERT in (ROOT / README).read_text()
    for name in TOOLS:
        assert f"| `{name}` |" in page
        assert f'"{name}"' in tests, f"no test runs {name}"


def test_everything_public_has_a_docstring():
    for name in caffeonspark.__all__:
        assert getattr(caffeonspark, name).__doc__, name


def test_everything_public_is_used_in_tests():
    used = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "caffeonspark":
                used |= {alias.name for alias in node.names}
    assert set(caffeonspark.__all__) - used == {"__version__"}


# ---- what no other test uses


def test_environment_mirror(monkeypatch):
    spec = importlib.util.spec_from_file_location("build_environment", ROOT / "scripts" / "environment" / "build.py")
    build = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "build_environment", build)
    spec.loader.exec_module(build)
    monkeypatch.setenv("CAFFEONSPARK_DEBIAN_MIRROR", "http://mirror.example/debian")
    assert build.debian_mirror() == "http://mirror.example/debian"


def test_benchmarks_are_named():
    words = [sys.executable, "-m", "benchmarks", "nothing"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert "monitoring" in done.stderr


MLP = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = (
    'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 40 '
    'test_interval: 20 snapshot_prefix: "own"'
)


def own_config(spark, folder, layer, **flags):
    (folder / "net.prototxt").write_text(layer + MLP)
    (folder / "solver.prototxt").write_text(SOLVER)
    own = ROOT / "tests" / "support" / "own_records.py"
    spark.sparkContext.addPyFile(str(own))  # executors need the reader's module
    place = {"conf": f"{folder}/solver.prototxt", "model": f"file:{folder}/m.caffemodel"}
    return Config(spark, clusterSize=2, quiet=True, **place, **flags)


@pytest.fixture
def lines(tmp_path):
    """A text file of 60 lines, six numbers and a label, and the layer that names it."""
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 200, (60, 6))
    labels = (rows[:, :3].sum(1) > rows[:, 3:].sum(1)).astype(int)
    text = "".join(" ".join(map(str, [*row, label])) + "\n" for row, label in zip(rows, labels))
    (tmp_path / "lines.txt").write_text(text)
    layer = (
        f'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" {PHASES} source_class: "own_records.Lines" '
        f"transform_param {{ scale: {stock.SCALE} }} "
        'memory_data_param { source: "lines.txt" batch_size: 7 channels: 1 height: 1 width: 6 } }'
    )
    return rows, labels, layer


@pytest.mark.long
def test_numbered_records_of_ones_own(spark, tmp_path, lines):
    """RangeSource with what it may call: config, net, layer, train, where, parameters, source_path, path_on_nodes,
    expect_tops, transform, tops, shuffle; and the observable results of a run, by its attributes."""
    rows, labels, layer = lines
    config = own_config(spark, tmp_path, layer, best=True, shuffle=True)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    curve = cos.trainWithValidation(data.getSource(config, True), data.getSource(config, False)).collect()
    assert [row.rows for row in curve] == [60, 60, 60]
    assert curve[0].asDict().keys() == {"iteration", "epoch", "seconds", "rows", "accuracy", "loss"}

    result = cos.result
    assert result.model == f"file:{tmp_path}/m.caffemodel"
    assert (result.iteration, result.max_iter, result.samples, result.rows) == (40, 40, 14, 60)
    assert (result.stopped, result.restarts, result.resumed) == ("", 0, "")
    assert sorted(result.hosts) == sorted(result.timings) == sorted(result.machines) == [0, 1]
    assert result.timings[0][-1].iteration == 40
    assert result.timings[0][-1].training >= result.timings[0][-1].loading
    assert [(test.iteration, test.net, test.rows) for test in result.tests] == [(0, 0, 60), (20, 0, 60), (40, 0, 60)]
    assert result.best == min(result.tests, key=lambda test: test.outputs["loss"][0])
    assert result.epoch(30) == pytest.approx(7)
    assert result.seconds() > 0
    loss = cos.trainingCurve().collect()
    assert [(row.iteration, row.loss, row.lr) for row in loss] == result.history
    assert loss[30].epoch == pytest.approx(7)

    config.features = ["data"]
    config.label = "label"
    found = {row.SampleID: row for row in cos.features(data.getSource(config, False)).collect()}
    assert len(found) == 60
    for number, (row, label) in enumerate(zip(rows, labels)):
        np.testing.assert_allclose(found[f"line {number}"].data, row * np.float32(stock.SCALE), rtol=1e-6)
        assert found[f"line {number}"].label == [label]
    assert not cos.task.skipped.value

    given = spark.createDataFrame([("a", bytes([1, 2, 3, 4, 5, 6]), 1)], "id string, data binary, label int")
    (row,) = cos.features(data.getSource(config, False, dataframe=given)).collect()
    np.testing.assert_allclose(row.data, np.arange(1, 7) * np.float32(stock.SCALE), rtol=1e-6)


def test_bad_records_of_ones_own(spark, tmp_path, lines):
    layer = lines[2]
    text = (tmp_path / "lines.txt").read_text().splitlines(keepends=True)
    (tmp_path / "lines.txt").write_text("".join([*text[:5], "1 2 3\n", *text[5:]]))
    config = own_config(spark, tmp_path, layer, badRecordsMax=0.1)
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    with pytest.raises(DataError, match=r"layer 'data': lines of lines.txt: .*line 5 has 3 numbers"):
        cos.train(data.getSource(config, True))
    config.badRecords = "skip"
    assert cos.train(data.getSource(config, True)).rows == 60
    config.features = ["ip"]
    assert cos.features(data.getSource(config, False)).count() == 60
    (tmp_path / "lines.txt").write_text("")
    with pytest.raises(DataError, match=r"layer 'data': lines of lines\.txt is empty"):
        cos.train(data.getSource(config, True))
    config = own_config(spark, tmp_path, layer.replace("height: 1", "height: 2"))
    (tmp_path / "lines.txt").write_text("".join(text))
    with pytest.raises(ConfigError, match="a line is an image of height 1, in the TRAIN net"):
        cos.train(data.getSource(config, True))
    config = own_config(spark, tmp_path, layer.replace('top: "label"', 'top: "label" top: "more"'))
    with pytest.raises(ConfigError, match="MemoryData has 1 or 2 tops, not 3"):
        cos.train(data.getSource(config, True))
    config = own_config(spark, tmp_path, layer.replace("lines.txt", "viewfs://disk" + str(tmp_path) + "/lines.txt"))
    with pytest.raises(ConfigError, match=r"the text file viewfs:.* the same local path"):
        cos.train(data.getSource(config, True))


def test_rows_with_a_reader_of_ones_own(spark, tmp_path):
    """FrameSource with what it may call: stored_path, read (with -readerOptions), columns, reader."""
    text = "id;x;y\n" + "".join(f"{n};{n % 7};{(n * 3) % 5}\n" for n in range(40))
    (tmp_path / "pairs.csv").write_text(text)
    layer = (
        f'layer {{ name: "data" type: "CoSData" top: "data" top: "label" {PHASES} source_class: "own_records.Pairs" '
        'cos_data_param { source: "pairs.csv" batch_size: 8 dataframe_format: "csv" } }'
    )
    config = own_config(spark, tmp_path, layer, readerOptions=["header=true", "sep=;"])
    cos, data = CaffeOnSpark(spark), DataSource(spark)
    assert cos.train(data.getSource(config, True)).rows == 40
    config.features, config.label = ["data"], "label"
    found = {row.SampleID: row for row in cos.features(data.getSource(config, False)).collect()}
    assert {key: row.data for key, row in found.items()} == {str(n): [n % 7, (n * 3) % 5] for n in range(40)}
    assert {key: row.label for key, row in found.items()} == {str(n): [n % 7 > (n * 3) % 5] for n in range(40)}
    config = own_config(spark, tmp_path, layer.replace("pairs.csv", "nowhere.csv"))
    with pytest.raises(ConfigError, match=r"layer 'data': source nowhere\.csv does not exist"):
        cos.train(data.getSource(config, True))


def test_params_of_an_estimator():
    estimator = CaffeEstimator(conf="solver.prototxt").setParams(clusterSize=3, features=["prob"])
    assert estimator.getOrDefault("clusterSize") == 3
    assert estimator.flags() == {"conf": "solver.prototxt", "clusterSize": 3, "features": ["prob"]}


def test_nothing_was_trained(spark):
    with pytest.raises(ConfigError, match="nothing was trained yet"):
        CaffeOnSpark(spark.sparkContext).trainingCurve()
