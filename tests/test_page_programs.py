"""The Python programs of README.md and of the pages about training, run as they are written there.

Each statement runs in order, in a folder that has what the page says is there: the nets of ``prototxt/`` and digits.
The solver's ``max_iter`` is smaller, so that a program takes seconds.
"""

import ast
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "data"))
import make_digits

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ITERATIONS = 200


def programs(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


def run(program, page, names):
    """Run a program's statements in ``names``; the values of those that are expressions."""
    values = []
    for statement in ast.parse(program, page).body:
        if isinstance(statement, ast.Expr):
            values.append(eval(compile(ast.Expression(statement.value), page, "eval"), names))
        else:
            exec(compile(ast.Module([statement], []), page, "exec"), names)
    return values


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkout's ``prototxt`` and ``data``, with LeNet's solver under the name that the pages use, too."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "prototxt", folder / "prototxt")
    make_digits.make_digits(str(folder / "data"))
    solver = folder / "prototxt" / "digits_lenet_solver.prototxt"
    short, count = re.subn(r"max_iter: \d+", f"max_iter: {ITERATIONS}", solver.read_text())
    assert count == 1
    solver.write_text(short)
    net = (folder / "prototxt" / "digits_lenet_train_test.prototxt").read_text()
    (folder / "digits_lenet_train_test.prototxt").write_text(net.replace("../data/", "data/"))
    (folder / "lenet_solver.prototxt").write_text(short)
    return folder


@pytest.fixture(scope="module")
def digits(spark):
    """(images, labels) as DataFrames of Vectors: train and test."""
    from pyspark.ml.linalg import Vectors

    def frame(images, labels):
        rows = [(Vectors.dense(image.ravel() / 255.0), int(label)) for image, label in zip(images, labels)]
        return spark.createDataFrame(rows, ["features", "label"]).cache()

    found = make_digits.read_digits()
    return frame(*found["train"]), frame(*found["test"])


@pytest.fixture
def names(spark, files, digits, monkeypatch):
    monkeypatch.chdir(files)
    return {"spark": spark, "train": digits[0], "test": digits[1]}


def share_right(predicted):
    return predicted.filter("prediction = label").count() / predicted.count()


def test_readme(names, files):
    (program,) = programs("README.md")
    means, predicted = run(program, "README.md", names)
    assert names["curve"].columns[:2] == ["accuracy", "loss"]
    assert sorted(means) == ["accuracy", "loss"]
    assert means["accuracy"][0] > 0.9
    assert (files / "build" / "python" / "lenet.caffemodel").is_file()
    assert predicted.columns == ["features", "label", "rawPrediction", "probability", "prediction"]
    assert share_right(predicted) > 0.85


def test_readme_names_a_shell_with_a_session():
    (command,) = re.findall(r"`scripts/with-env (pyspark [^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    lines = (
        "from caffeonspark import *",
        "print('typed in', CaffeOnSpark(spark), spark.sparkContext.master)",
        "exit()",
    )
    terminal = ["script", "-qec", command, "/dev/null"]  # without one Python reads a program, and PySpark makes nothing
    shell = subprocess.run(
        terminal, input="\n".join((*lines, "")), capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert re.search(r"typed in <.*CaffeOnSpark.*> local-cluster\[2,1,1024\]", shell.stdout), (
        shell.stdout[-2000:] + shell.stderr[-2000:]
    )


def test_train_from_an_lmdb(names, capsys):
    (program,) = programs("docs/train-lmdb.md")
    _, means, features = run(program, "docs/train-lmdb.md", names)
    assert "iteration|" in capsys.readouterr().out  # curve.show()
    assert means["accuracy"][0] > 0.9
    assert features.columns == ["SampleID", "ip1", "ip2"]
    assert features.count() == 360


def test_train_from_a_dataframe(names, files, spark):
    classifier, given = programs("docs/train-dataframe.md")
    (predicted,) = run(classifier, "docs/train-dataframe.md", names)
    assert share_right(predicted) > 0.85
    # the second needs a net whose layers read columns, and a DataFrame that has them
    make_digits.make_digits(str(files / "frames"), dataframe=True)
    net = (files / "prototxt" / "lenet_dataframe_train_test.prototxt").read_text()
    (files / "lenet_dataframe_train_test.prototxt").write_text(net.replace("../data/mnist", "frames/digits"))
    solver = (files / "prototxt" / "lenet_dataframe_solver.prototxt").read_text()
    (files / "lenet_solver.prototxt").write_text(re.sub(r"max_iter: \d+", "max_iter: 20", solver))
    frame = spark.read.parquet(f"file:{files}/frames/digits_train_dataframe")
    run(given, "docs/train-dataframe.md", {**names, "frame": frame})
    assert (files / "lenet.caffemodel").is_file()
