"""What users are told about prototxts, models and data: each message provoked for real, and printed in the end.

``what was done -> the lines that are seen -> exit status``: a line says the cause, where it is and what to do; none is
a traceback, and none is Caffe's own log.
"""

import contextlib
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caffeonspark import cli
from caffeonspark.data.sources import fields
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from caffeonspark.spark import session
from tests.corpus import data_files
from tests.corpus.case import CONV, LOSS, SOLVER, as_v1, classified, database, inner_product, layer, numbers
from tests.corpus.versions import V0
from tests.support.data_files import write_leveldb

pytestmark = pytest.mark.slow

PLAIN = classified(CONV)
TRAIN = "local -np 1 -train -conf solver.prototxt -model file:m.caffemodel -quiet"
CHECKED = TRAIN.replace("-quiet", "-dryRun")
SCORED = "-test -conf solver.prototxt -model file:m.caffemodel -output file:means.txt -quiet"
DEPLOYED = "-features prob -net deploy.prototxt -model file:given.caffemodel -output file:scores -quiet"
X = layer("Input", ">x", "input_param { shape { dim: 10 dim: 6 } }")
DEPLOY = {"deploy.prototxt": X + inner_product("x>y", 5) + layer("Softmax", "y>prob")}
ROWS = f"{DEPLOYED} -data file:numbers.parquet"
EXPORT = "export -conf solver.prototxt -model given.caffemodel -output exported"
OF_CAFFE = re.compile(r"^[IWEF]\d{4} \d\d:\d\d", re.MULTILINE)
NOTE, ERROR = 0, 1

_table = []


def net(text, more="", solver=f"{SOLVER} max_iter: 3"):
    return {"net.prototxt": text, "solver.prototxt": f'net: "net.prototxt" {solver} {more}\n'}


def changed(one, other, more=""):
    assert one in PLAIN
    return net(PLAIN.replace(one, other), more)


def rule(text, more=""):
    return net(PLAIN, more, f"{text} max_iter: 3")


def over(data):
    return net(data + inner_product("data>ip", 10) + LOSS)


def images(rest):
    return over(layer("ImageData", ">data,label", f"image_data_param {{ batch_size: 10 {rest} }}"))


def python(rest):
    return over(layer("Python", ">data,label", rest))


DUMMY = layer(
    "DummyData",
    ">data,label",
    "dummy_data_param { shape { dim: 10 dim: 6 } shape { dim: 10 } "
    "data_filler { value: 0.5 } data_filler { value: 2 } }",
)
LEVEL = database("data,label", "images_leveldb", backend="")

#: What was done: the files, the command, whether it is an error, and what the line says.
CASES = {
    # 1 old nets
    "train a V1 net": (net(as_v1(PLAIN)), CHECKED, NOTE, "is of an older version of Caffe"),
    "train a V0 net": (net(V0["V0 conv"]), CHECKED, NOTE, "is of an older version of Caffe"),
    "a V1 net in net_param": (
        {"solver.prototxt": f"net_param {{ {as_v1(PLAIN)} }} {SOLVER} max_iter: 3"},
        CHECKED,
        NOTE,
        "is of an older version of Caffe",
    ),
    "solver_type": (net(PLAIN, "solver_type: NESTEROV"), CHECKED, NOTE, "is of an older version of Caffe"),
    "type and solver_type": (net(PLAIN, 'type: "SGD" solver_type: ADAM'), CHECKED, ERROR, "solver_type"),
    "data_param { scale } in today's layer": (
        changed("batch_size", "scale: 7 batch_size"),
        CHECKED,
        NOTE,
        "does nothing",
    ),
    "layers { } and layer { } in one net": (net(as_v1(CONV) + PLAIN), CHECKED, ERROR, "layers"),
    "an enum for today's type": (changed('"Convolution"', "CONVOLUTION"), CHECKED, ERROR, "string"),
    "an unknown V0 type": (net(V0["V0 conv"].replace('"conv"', '"convolve"', 1)), CHECKED, ERROR, "before 2014"),
    "two layers with parameters of one name": (
        net(PLAIN.replace('name: "ip_InnerProduct"', 'name: "conv_Convolution"')),
        CHECKED,
        ERROR,
        "both called",
    ),
    # 3 nets that make their own data
    "a DummyData net": (over(DUMMY), CHECKED.replace("-np 1", "-np 2"), NOTE, "makes this data by itself"),
    "-test of a DummyData net without test_iter": (over(DUMMY), SCORED, ERROR, "test_iter"),
    "a Python data layer whose module is not there": (
        python('python_param { module: "my_layers" layer: "Numbers" }'),
        CHECKED,
        ERROR,
        "--py-files",
    ),
    "WindowData": (over(layer("WindowData", ">data,label")), CHECKED, ERROR, "CoSData"),
    "AnnotatedData": (over(layer("AnnotatedData", ">data,label")), CHECKED, ERROR, "CoSData"),
    "a data layer of an unknown type": (over(layer("MyData", ">data,label")), CHECKED, ERROR, "MyData"),
    # 4 deploy nets
    "-net without -data": (DEPLOY, DEPLOYED, ERROR, "-data"),
    "-train with -net": (DEPLOY, DEPLOYED.replace("-features prob", "-train"), ERROR, "-train"),
    "-net and -conf": ({**DEPLOY, **net(PLAIN)}, f"{ROWS} -conf solver.prototxt", ERROR, "-conf"),
    "-net that names a solver": (
        net(PLAIN),
        ROWS.replace("deploy", "solver"),
        ERROR,
        "is a solver, not a net: -conf takes solvers",
    ),
    "-conf that names a net": (DEPLOY, CHECKED.replace("solver", "deploy"), ERROR, "-net takes nets"),
    "-data that is not there": (DEPLOY, ROWS.replace("numbers.p", "no.p"), ERROR, "no.parquet"),
    "-data of another format": (DEPLOY, f"{ROWS} -dataFormat orc", ERROR, "orc"),
    "-dataFormat of an unknown name": (DEPLOY, f"{ROWS} -dataFormat parket", ERROR, "parket"),
    "an input without a column": (
        {"deploy.prototxt": DEPLOY["deploy.prototxt"].replace('"x"', '"pixels"')},
        ROWS,
        ERROR,
        "-columns",
    ),
    "-columns with a column that is not there": (DEPLOY, f"{ROWS} -columns x=numbers", ERROR, "numbers"),
    "-columns with an input that is not there": (DEPLOY, f"{ROWS} -columns image=x", ERROR, "image"),
    "-columns without =": (DEPLOY, f"{ROWS} -columns x", ERROR, "BLOB=COLUMN"),
    "a column of another width": (DEPLOY, f"{ROWS} -columns x=target", ERROR, "5"),
    "-transform with an unknown field": (DEPLOY, f"{ROWS} -transform scal:2", ERROR, "Did you mean 'scale'"),
    "-features of a blob that is not there": (DEPLOY, ROWS.replace("prob", "probs"), ERROR, "probs"),
    "a model that is not there": (DEPLOY, ROWS.replace("given", "missing"), ERROR, "missing.caffemodel"),
    "a model of another net": (DEPLOY, ROWS.replace("given", "other"), ERROR, "other.caffemodel"),
    "a model that is a prototxt": (DEPLOY, ROWS.replace("given.caffemodel", "deploy.prototxt"), ERROR, "prototxt"),
    "-output that is there": (DEPLOY, ROWS.replace("file:scores", "file:pictures"), ERROR, "exists already"),
    "predict an image that is not there": (
        DEPLOY,
        "predict -net deploy.prototxt -model given.caffemodel no.png",
        ERROR,
        "no.png",
    ),
    "export over a folder": (net(PLAIN), EXPORT.replace("exported", "pictures"), ERROR, "-overwrite"),
    "export a model that is not there": (net(PLAIN), EXPORT.replace("given", "missing"), ERROR, "missing.caffemodel"),
    "export a model of another net": (net(PLAIN), EXPORT, ERROR, "given.caffemodel"),
    "export -format of an unknown name": (net(PLAIN), f"{EXPORT} -format h5", ERROR, "hdf5"),
    # 5 fields
    "SSD's resize_param": (
        changed("transform_param {", "transform_param { resize_param { height: 3 }"),
        CHECKED,
        ERROR,
        "-resize",
    ),
    "SSD's distort_param": (
        changed("transform_param {", "transform_param { distort_param { hue: 3 }"),
        CHECKED,
        ERROR,
        "where the data is made",
    ),
    "a fork's img_rand_resize_lower": (
        changed("transform_param {", "transform_param { img_rand_resize_lower: 3"),
        CHECKED,
        ERROR,
        "where the data is made",
    ),
    "shuffle in data_param": (changed("batch_size", "shuffle: true batch_size"), CHECKED, ERROR, "-shuffle"),
    "is_color in data_param": (changed("batch_size", "is_color: true batch_size"), CHECKED, ERROR, "force_color"),
    "rand_skip in data_param": (changed("batch_size", "rand_skip: 9 batch_size"), CHECKED, NOTE, "does nothing"),
    "a field that is misspelt": (changed("kernel_size", "kernelsize"), CHECKED, ERROR, "Did you mean 'kernel_size'"),
    "DeepLab's hole": (changed("kernel_size", "hole: 2 kernel_size"), CHECKED, ERROR, "dilation"),
    "SSD's norm_param": (
        net(classified(CONV + layer("Normalize", "conv>x", "norm_param { }"))),
        CHECKED,
        ERROR,
        "fork",
    ),
    "SSD's Permute": (net(classified(CONV + layer("Permute", "conv>x"))), CHECKED, ERROR, "fork"),
    "HDF5Data with transform_param": (
        over(numbers("data,label").replace("hdf5_data", "transform_param { scale: 2 } hdf5_data", 1)),
        CHECKED,
        ERROR,
        "transform_param",
    ),
    # 6 files that Caffe opens itself
    "weights: that are not there": (net(PLAIN, 'weights: "no.caffemodel"'), CHECKED, ERROR, "no.caffemodel"),
    "infogain source that is not there": (
        net(
            PLAIN.replace('"SoftmaxWithLoss"', '"InfogainLoss"').replace(
                'top: "loss"', 'top: "loss" infogain_loss_param { source: "no.binaryproto" }'
            )
        ),
        CHECKED,
        ERROR,
        "no.binaryproto",
    ),
    "mean_file that is not there": (changed("scale: 0.00390625", 'mean_file: "no"'), CHECKED, ERROR, "mean_file"),
    "mean_file of another size": (
        net(
            classified(CONV, database("data,label", "colour_lmdb", 'transform_param { mean_file: "mean.binaryproto" }'))
        ),
        CHECKED,
        ERROR,
        "mean",
    ),
    "HDF5Output in a training net": (
        net(PLAIN + layer("HDF5Output", "ip,label>", 'hdf5_output_param { file_name: "o.h5" }')),
        CHECKED,
        ERROR,
        "-features",
    ),
    # 7 LevelDB
    "a LevelDB that is not there": (over(LEVEL.replace("images_l", "no_l")), CHECKED, ERROR, "no_leveldb"),
    "a LevelDB named LMDB": (over(LEVEL.replace("10  }", "10 backend: LMDB }")), CHECKED, NOTE, "LevelDB"),
    "an LMDB named LEVELDB": (changed("backend: LMDB", "backend: LEVELDB"), CHECKED, NOTE, "LMDB"),
    "a LevelDB without its logs": (over(LEVEL.replace("images_l", "logless_l")), CHECKED, NOTE, ".log"),
    "a LevelDB that is damaged": (over(LEVEL.replace("images_l", "damaged_l")), CHECKED, ERROR, "damaged_leveldb"),
    "a folder that is no database": (changed("images_lmdb", "pictures"), CHECKED, ERROR, "pictures"),
    # 8 names and places
    "a list with several labels": (images('source: "labels.txt"'), CHECKED, ERROR, "HDF5Data"),
    "a list that is not there": (images('source: "no.txt"'), CHECKED, ERROR, "no.txt"),
    "a picture that is not there": (images('source: "gone.txt"'), CHECKED, ERROR, "gone.png"),
    "images of varying size in a batch": (images('source: "sizes.txt"'), TRAIN, ERROR, "-resize"),
    "a solver without max_iter": (net(PLAIN, solver=SOLVER), CHECKED, ERROR, "max_iter"),
    "a model named without .h5": (net(PLAIN), SCORED.replace("m.caff", "h5.caff"), ERROR, ""),
    "a Latin-1 byte in a name": (net(PLAIN.replace('"conv"', '"\xe9"')), CHECKED, ERROR, "UTF-8"),
    "a solver that is not there": ({}, CHECKED.replace("solver.", "no_solver."), ERROR, "no_solver.prototxt"),
    "a net that is not there": ({"solver.prototxt": f'net: "no.prototxt" {SOLVER}'}, CHECKED, ERROR, "no.prototxt"),
    "a number with a decimal comma": (rule('base_lr: 0,01 lr_policy: "fixed"'), CHECKED, ERROR, "point"),
    "a field given twice": (net(PLAIN, "base_lr: 0.1"), CHECKED, ERROR, "base_lr"),
    "Windows' path": (net(PLAIN, 'snapshot_prefix: "D:\\models\\x"'), CHECKED, ERROR, "\\"),
    # 10 mistakes in solvers
    "unknown lr_policy": (rule('base_lr: 0.01 lr_policy: "stepp"'), CHECKED, ERROR, "Did you mean 'step'"),
    "missing lr_policy": (rule("base_lr: 0.01"), CHECKED, ERROR, "lr_policy"),
    "missing stepsize": (rule('base_lr: 0.01 lr_policy: "step" gamma: 0.1'), CHECKED, ERROR, "stepsize"),
    "unsorted stepvalue": (
        rule('base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 3 stepvalue: 1'),
        CHECKED,
        NOTE,
        "stepvalue",
    ),
    "wrong regularization_type": (net(PLAIN, 'regularization_type: "L3"'), CHECKED, ERROR, "regularization_type"),
    "AdaGrad with momentum": (net(PLAIN, 'type: "AdaGrad"'), CHECKED, ERROR, "momentum"),
    "missing base_lr": (rule('lr_policy: "fixed"'), CHECKED, NOTE, "base_lr"),
    "unknown type of solver": (net(PLAIN, 'type: "Adamm"'), CHECKED, ERROR, "Did you mean 'Adam'"),
    "a state of another solver's type": (
        rule('base_lr: 0.01 lr_policy: "fixed" type: "AdaDelta" momentum: 0.9'),
        f"{CHECKED} -snapshot file:s_iter_3.solverstate -weights file:s_iter_3.caffemodel",
        ERROR,
        "type",
    ),
    "a state of another net": (
        changed("num_output: 4", "num_output: 5"),
        f"{CHECKED} -snapshot file:s_iter_3.solverstate -weights file:s_iter_3.caffemodel",
        ERROR,
        "s_iter_3",
    ),
    "unknown layer type": (changed('"Convolution"', '"Convolutoin"'), CHECKED, ERROR, "Did you mean 'Convolution'"),
    "a layer without a type": (changed('type: "Convolution"', ""), CHECKED, ERROR, "type"),
    "what Caffe refuses": (changed("kernel_size: 5", "kernel_size: 50"), CHECKED, ERROR, "its kernel is larger"),
    "negative test_iter": (net(PLAIN, "test_iter: -1 test_interval: 3"), CHECKED, NOTE, "test_iter"),
    # 13 the commands
    "check a net that runs": (net(PLAIN), "check net.prototxt", NOTE, "runs"),
    "check a solver that does not": (rule('lr_policy: "stepp"'), "check solver.prototxt", ERROR, "Did you mean"),
    "check a file that is not there": ({}, "check no.prototxt", ERROR, "no.prototxt"),
    "check a picture": ({}, "check pictures/c0.png", ERROR, "not text"),
    "upgrade over a file": (net(as_v1(PLAIN)), "upgrade net.prototxt net.prototxt", ERROR, "-overwrite"),
    "upgrade a net": (net(as_v1(PLAIN)), "upgrade net.prototxt upgraded.prototxt", NOTE, "upgraded.prototxt"),
    "upgrade a net of today": (net(PLAIN), "upgrade net.prototxt copied.prototxt", NOTE, "copied.prototxt"),
    "upgrade a picture": ({}, "upgrade pictures/c0.png u.prototxt", ERROR, "c0.png"),
    "snapshots of a folder that is not there": ({}, "snapshots no_folder", ERROR, "no_folder"),
    "an unknown command": ({}, "upgrad net.prototxt", ERROR, "Did you mean 'upgrade'"),
    "an unknown flag": (net(PLAIN), f"{CHECKED} -clusterzise 2", ERROR, "Did you mean"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The corpus' data and, made of it, what is damaged or odd."""
    folder = tmp_path_factory.mktemp("messages")
    data_files.make_data(folder)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (1000, 1, 12, 12)).astype(np.uint8)
    write_leveldb(folder / "logless_leveldb", pixels, rng.integers(0, 10, 1000))
    for log in (folder / "logless_leveldb").glob("*.log"):
        log.unlink()
    shutil.copytree(folder / "images_leveldb", folder / "damaged_leveldb")
    (folder / "damaged_leveldb" / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    (folder / "labels.txt").write_text("pictures/c0.png 1 2 3\n")
    (folder / "gone.txt").write_text("pictures/gone.png 1\n")
    rows = {name: [list(map(float, row)) for row in rng.random((20, size))] for name, size in (("x", 6), ("target", 5))}
    pq.write_table(pa.table(rows), str(folder / "numbers.parquet"))
    for name, size in (("given", 6), ("other", 7)):
        blobs = (rng.random((5, size)).astype(np.float32), np.zeros(5, np.float32))
        write_caffemodel(str(folder / f"{name}.caffemodel"), [LayerWeights("y_InnerProduct", "InnerProduct", blobs)])
    return folder


@pytest.fixture
def run(monkeypatch, capfd, folder):
    """run(files, words): (status, standard output, standard error)."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(fields, "_said", set())  # each case is another process' to its user

    def run(files, words):
        for name, text in files.items():
            (folder / name).write_bytes(text.encode("latin-1" if "\xe9" in text else "utf-8"))
        capfd.readouterr()
        status = cli.main(words.split())
        out, err = capfd.readouterr()
        return status, out, err

    return run


def test_a_run_for_the_states(run, folder):
    """What the cases about states continue from; and not a line of Caffe's on the way."""
    status, out, err = run(net(PLAIN, 'snapshot: 3 snapshot_prefix: "s"'), TRAIN.replace("m.caff", "s.caff"))
    assert status == 0, err
    assert not OF_CAFFE.search(out + err)
    _table.append(("train (9: Caffe's log)", f"{len((out + err).splitlines())} lines, none of them Caffe's", status))
    for kind in ("caffemodel", "solverstate"):
        (found,) = sorted(folder.glob(f"*_iter_3.{kind}"))
        found.rename(folder / f"s_iter_3.{kind}")


def told(run, what):
    """Do what a case says, and look at what its user sees."""
    files, words, expected, says = CASES[what]
    status, out, err = run(files, words)
    lines = [line for line in (out + err).splitlines() if line.strip()]
    seen = [line for line in lines if says in line] or lines
    _table.append((what, " | ".join(seen[:2]), status))
    assert not OF_CAFFE.search(out + err), err
    assert "Traceback" not in err, err
    assert status == expected, err
    assert any(says in line for line in lines), lines
    if expected == ERROR and not words.startswith("check"):
        assert err.splitlines()[-1].startswith("caffeonspark: "), err  # the last line is the cause


def needs_spark(what):
    return CASES[what][1].startswith(("-", "export"))


@pytest.mark.parametrize("what", [what for what in CASES if not needs_spark(what)])
def test_what_is_said(run, what):
    told(run, what)


@pytest.mark.parametrize("what", [what for what in CASES if needs_spark(what)])
def test_what_is_said_with_spark(run, spark, monkeypatch, what):
    monkeypatch.setattr(cli, "start_spark", lambda: contextlib.nullcontext(spark))
    monkeypatch.setattr(session, "start_spark", lambda: contextlib.nullcontext(spark))
    told(run, what)


def test_the_table(capsys, folder):
    """Printed last: what was done, what is seen, and the exit status."""
    with capsys.disabled():
        print()
        for what, seen, status in _table:
            seen = seen.replace(f"file:{folder}", "file:DIR").replace(str(folder), "DIR")
            print(f"{what} -> {seen} -> {status}")
