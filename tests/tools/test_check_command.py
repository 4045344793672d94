"""``caffeonspark check FILE…``."""

import json
import os

import numpy as np
import pytest

from caffeonspark.cli import main
from caffeonspark.formats.caffemodel import LayerWeights, write_caffemodel
from tests.support import library_alone
from tests.support.paths import ROOT

DATA = """layer {
  name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "lmdb" batch_size: 10 backend: LMDB }%s
}
"""
LAYERS = """layer {
  name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
NET = DATA % "" + LAYERS
CROPPED = DATA % ' transform_param { mean_file: "mean.binaryproto" crop_size: 8 }' + LAYERS
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 10\n'
DEPLOY = (
    'input: "data" input_dim: 2 input_dim: 1 input_dim: 12 input_dim: 12\n'
    + LAYERS.partition('layer { name: "loss"')[0]
)
MISSING = (
    "net.prototxt:2: layer 'data': source lmdb does not exist, and only the data tells how large a sample is: "
    "the net was not built"
)


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """run(words…) in a folder of its own: (status, the lines on standard output). Nothing is on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words, **files):
        for name, content in files.items():
            path = tmp_path / f"{name}.prototxt"
            path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        status = main(["check", *words])
        out, err = capfd.readouterr()
        assert err == ""
        return status, out.splitlines()

    return run


def with_data(tmp_path, small_lmdb):
    os.symlink(small_lmdb, tmp_path / "lmdb")


def test_what_runs(run, tmp_path, small_lmdb):
    with_data(tmp_path, small_lmdb)
    assert run("solver.prototxt", "net.prototxt", "deploy.prototxt", solver=SOLVER, net=NET, deploy=DEPLOY) == (
        0,
        [
            "solver.prototxt (solver): runs",
            "net.prototxt (net): runs",
            "deploy.prototxt (deploy net): runs, with notes",
            "    deploy.prototxt is of an older version of Caffe (input fields) and was brought up to date, as Caffe "
            "does: 'caffeonspark upgrade deploy.prototxt NEW' writes the result to the file NEW",
            "3 files; runs: 2; runs, with notes: 1",
        ],
    )


def test_data_that_is_not_here_is_no_failure(run):
    """The net cannot be built: only the data tells how large an image is."""
    status, lines = run("solver.prototxt", solver=SOLVER, net=NET)
    assert (status, lines) == (
        0,
        [
            "solver.prototxt (solver): no fault found, but not all could be checked",
            f"    {MISSING}",
        ],
    )


def test_a_net_is_built_with_what_it_says_of_its_data(run):
    """The crop is as large as the blob; the net takes colour and grey images."""
    status, lines = run("net.prototxt", net=CROPPED)
    assert (status, lines) == (
        0,
        [
            "net.prototxt (net): no fault found, but not all could be checked",
            "    net.prototxt:2: layer 'data': mean_file mean.binaryproto does not exist",
            "    net.prototxt:2: layer 'data': source lmdb does not exist",
        ],
    )
    kernel = 'type: "Convolution" bottom: "data" top: "ip" convolution_param { num_output: 2 kernel_size: 9 } }'
    status, lines = run(
        "net.prototxt", net=CROPPED.partition('layer {\n  name: "ip"')[0] + f'layer {{ name: "c" {kernel}'
    )
    assert status == 1 and lines[0] == "net.prototxt (net): does not run"
    assert lines[1].startswith("    net.prototxt:5: layer 'c' (Convolution): Caffe refuses the net: ")
    status, lines = run("solver.prototxt", solver=SOLVER)  # whose file that is not
    assert lines[1].startswith("    net.prototxt:5: layer 'c' (Convolution): Caffe refuses the net: ")


def test_a_line_for_each_file_whatever_its_name(run, tmp_path):
    (tmp_path / "a\nb.prototxt").write_text("name: 'x'")
    assert run("a\nb.prototxt")[1] == ["a b.prototxt (net): does not run", "    a b.prototxt: the net has no layer"]


FAILS, NEITHER = " (net): does not run", ": is neither a solver nor a net"
WHAT_IS_WRONG = [
    (NET.replace("InnerProduct", "InnerProdukt"), FAILS, "6: layer 'ip' (TRAIN phase): unknown layer type"),
    (NET.replace("num_output", "num_outputs"), FAILS, "7: InnerProductParameter has no field"),
    (NET.replace('bottom: "data"', 'bottom: "dat"'), FAILS, "6: layer 'ip' (TRAIN phase): bottom 'dat'"),
    (NET.replace("backend", "resize_param { } backend"), FAILS, "3: DataParameter has no field 'resize_param'"),
    (NET.replace("batch_size: 10", ""), FAILS, "2: layer 'data': batch_size must be at least 1"),
    (NET.rstrip()[:-1], FAILS, "9: "),
    ('name: "x" layer { name: "y" intrp_param { } }', FAILS, "1: LayerParameter has no field 'intrp_param'"),
    (b"\x00\x01\x02" + b"\xff" * 40, NEITHER, " not a prototxt: it is not text"),
    ("", NEITHER, " there is nothing in it"),
    ("# nothing\n", NEITHER, " there is nothing in it"),
    ('item { name: "none" label: 0 }', NEITHER, "1: "),
    ('name: "x"', FAILS, " the net has no layer"),
    ("a { " * 3000, NEITHER, "1: "),
]


@pytest.mark.parametrize(("content", "verdict", "line"), WHAT_IS_WRONG)
def test_what_does_not_run(run, content, verdict, line):
    status, lines = run("net.prototxt", net=content)
    assert status == 1
    assert lines[0] == f"net.prototxt{verdict}"
    assert len(lines) == 2 and lines[1].startswith(f"    net.prototxt:{line}"), lines


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("fixed", "fixd"), "unknown lr_policy 'fixd'. Did you mean 'fixed'?"),
        (("fixed", "step"), 'stepsize is missing: lr_policy: "step" needs one of at least 1, in iterations'),
        (("max_iter", 'type: "AdaGrad" momentum: 0.9 max_iter'), "momentum does not go with"),
        (("max_iter", 'type: "Adm" max_iter'), "unknown solver type 'Adm'. Did you mean 'Adam'?"),
        (("max_iter", "net_param { } max_iter"), "exactly one of net, net_param"),
    ],
)
def test_solvers_that_do_not_run(run, change, line):
    """Also where the nets could not be built."""
    status, lines = run("solver.prototxt", solver=SOLVER.replace(*change), net=NET)
    assert status == 1 and lines[0] == "solver.prototxt (solver): does not run"
    assert lines[1].startswith(f"    solver.prototxt: {line}"), lines


def test_notes(run, tmp_path, small_lmdb):
    with_data(tmp_path, small_lmdb)
    old = NET.replace("layer {", "layers {").replace('"Data"', "DATA").replace('"InnerProduct"', "INNER_PRODUCT")
    old = old.replace('"SoftmaxWithLoss"', "SOFTMAX_LOSS")
    solver = SOLVER.replace("base_lr: 0.1", "solver_type: ADAM").replace("max_iter: 10", 'weights: "start.caffemodel"')
    write_caffemodel(
        "start.caffemodel", [LayerWeights("ip", "", [np.zeros((10, 144), np.float32), np.zeros(10, np.float32)])]
    )
    status, lines = run("solver.prototxt", "net.prototxt", solver=solver, net=old)
    upgraded = (
        "    net.prototxt is of an older version of Caffe (layers of before 2015) and was brought up to date, as Caffe "
        "does: 'caffeonspark upgrade net.prototxt NEW' writes the result to the file NEW"
    )
    assert (status, lines[0], lines[-3:]) == (
        0,
        "solver.prototxt (solver): runs, with notes",
        ["net.prototxt (net): runs, with notes", upgraded, "2 files; runs, with notes: 2"],
    )
    told = "\n".join(lines[1:-3])
    assert upgraded not in lines[1:-3] and "    its net net.prototxt: see what is said of that" in lines[1:-3]
    assert "solver.prototxt is of an older version of Caffe (solver_type)" in told
    assert "solver.prototxt: max_iter is missing: -test and -features need none, -train does" in told
    assert "solver.prototxt: base_lr is missing and counts as 0: nothing is learned" in told
    assert "weights of file:start.caffemodel: 1 layer taken" in told


def test_lines_of_layers_that_share_a_name(run):
    """Which one is meant shows in what the message quotes."""
    two = DATA % " include { phase: TRAIN }" + DATA.replace('"lmdb"', '"other"') % " include { phase: TEST }"
    _, lines = run("net.prototxt", net=two + LAYERS)
    assert [line.partition(" does not")[0] for line in lines[1:]] == [
        "    net.prototxt:2: layer 'data': source lmdb",
        "    net.prototxt:6: layer 'data': source other",
    ]


def test_weights_of_another_net(run, tmp_path, small_lmdb):
    with_data(tmp_path, small_lmdb)
    solver = SOLVER + 'weights: "start.caffemodel"\n'
    assert run("solver.prototxt", solver=solver, net=NET)[1] == [
        "solver.prototxt (solver): no fault found, but not all could be checked",
        "    solver.prototxt: weights: start.caffemodel does not exist",
    ]
    write_caffemodel(
        "start.caffemodel", [LayerWeights("ip", "", [np.zeros((10, 99), np.float32), np.zeros(10, np.float32)])]
    )
    status, lines = run("solver.prototxt")
    assert status == 1 and "start.caffemodel" in lines[1] and "10x99" in lines[1], lines


@pytest.mark.parametrize("where", ["examples/net.prototxt", "elsewhere/net.prototxt", "nowhere.prototxt"])
def test_a_net_that_is_named_from_another_folder(run, tmp_path, where):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "net.prototxt").write_text(NET)
    (tmp_path / "examples" / "solver.prototxt").write_text(SOLVER.replace("net.prototxt", where))
    os.chdir("examples")
    status, lines = run("solver.prototxt")
    hint = {
        "examples/net.prototxt": f"; it is there from {tmp_path}: start in that folder",
        "elsewhere/net.prototxt": "; net.prototxt lies next to the solver: name that",
        "nowhere.prototxt": "",
    }[where]
    assert status == 1
    assert lines[1] == f"    solver.prototxt: the net {where} (named by solver.prototxt) does not exist{hint}"


def test_folders(run, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "labelmap.prototxt").write_text('item { name: "none" label: 0 }')
    (tmp_path / "a" / "deploy.prototxt").write_text(DEPLOY)
    (tmp_path / "a" / "readme.txt").write_text("no net")
    (tmp_path / "a" / "pipe.prototxt").mkdir()
    status, lines = run("a")
    assert status == 0 and [line for line in lines if not line.startswith(" ")] == [
        "a/deploy.prototxt (deploy net): runs, with notes",
        "a/b/labelmap.prototxt: is neither a solver nor a net",
        "2 files; runs, with notes: 1; is neither a solver nor a net: 1",
    ]
    (tmp_path / "c").mkdir()
    assert run("c") == (1, ["c: no *.prototxt is in it"])
    assert run("c", "a")[0] == 0
    assert run("a/b/labelmap.prototxt")[0] == 1  # named by itself, it was meant to be one


def test_files_that_cannot_be_read(run, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.prototxt")
    (tmp_path / "huge.prototxt").touch()
    os.truncate(tmp_path / "huge.prototxt", 100 << 20)
    status, lines = run("pipe.prototxt", "missing.prototxt", "huge.prototxt")
    assert (status, [line.strip() for line in lines]) == (
        1,
        [
            "pipe.prototxt: cannot be read",
            "pipe.prototxt: it is no file",
            "missing.prototxt: cannot be read",
            "missing.prototxt: it does not exist",
            "huge.prototxt: cannot be read",
            "huge.prototxt: 100 MB are too much for a prototxt",
            "3 files; cannot be read: 3",
        ],
    )


def test_an_unforeseen_error_ends_nothing(run, monkeypatch):
    monkeypatch.setattr("caffeonspark.tools.check._check_net", lambda path, found: 1 // 0)
    _, lines = run("net.prototxt", "solver.prototxt", net=NET, solver=SOLVER)
    assert (
        lines[1]
        == "    net.prototxt: it could not be checked to the end: ZeroDivisionError: integer division or modulo by zero"
    )
    assert lines[2] == "solver.prototxt (solver): no fault found, but not all could be checked"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-x"], "check takes files and folders, not -x"),
        (["hdfs:///x"], "check reads files of this machine"),
    ],
)
def test_mistakes_of_the_command_line(tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["check", *words]) == 1
    assert capfd.readouterr().err.startswith(f"caffeonspark: {message}")


def test_without_caffe(tmp_path):
    """What can be seen in the files is said, and that the rest could not be."""
    files = {
        "net": NET.replace('bottom: "data"', 'bottom: "dat"'),
        "solver": SOLVER.replace("fixed", "fixd"),
        "good": NET,
    }
    for name, text in files.items():
        (tmp_path / f"{name}.prototxt").write_text(text)
    code = f"""
        import json, os
        os.chdir({str(tmp_path)!r})
        from caffeonspark.tools.check import check_files
        found = check_files(["net.prototxt", "solver.prototxt", "good.prototxt"])
        print(json.dumps([[one.verdict, one.problems, one.unseen] for one in found]))
    """
    net, solver, good = json.loads(library_alone.run(code, before=library_alone.WITHOUT_CAFFE))
    nothing = "Caffe is not installed in this Python: the layers were not built, only looked at"
    assert net[0] == solver[0] == "does not run" and "bottom 'dat'" in net[1][0]
    assert (good[0], good[1]) == ("no fault found, but not all could be checked", [])
    assert list(dict.fromkeys(good[2])) == [nothing, MISSING.replace("net.", "good.")]


def test_nets_of_the_repository(capfd, monkeypatch):
    """They run; their data need not be here."""
    monkeypatch.chdir(ROOT)
    names = ["lenet_cos_solver", "lenet_cos_train_test", "lenet_memory_train_test", "mnist_autoencoder_train_test"]
    assert main(["check", *(f"prototxt/{name}.prototxt" for name in names)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "4 files; no fault found, but not all could be checked: 4"
    assert not any("Caffe refuses" in line for line in lines)
