"""``caffeonspark predict``: the digit of a PNG, and a line for what it does not take."""

import importlib
import json
import sys

import pytest
from PIL import Image

from caffeonspark import Config, export_model
from caffeonspark.cli import main
from caffeonspark.nets.prototxt import parse_net
from tests.ml.test_local import saved
from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "data"))
make_digits = importlib.import_module("make_digits")

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder as after ``make demo`` and ``caffeonspark export``, but for the number of iterations: deployed/ and
    PNGs of digits that were not trained, 0.png to 9.png."""
    folder = tmp_path_factory.mktemp("demo")
    found = make_digits.read_digits()
    for name, (images, labels) in found.items():
        write_lmdb(folder / f"digits_{name}_lmdb", images, labels)
    for name in ("digits_lenet_train_test", "digits_lenet_solver"):
        text = (ROOT / "prototxt" / f"{name}.prototxt").read_text()
        (folder / f"{name}.prototxt").write_text(text.replace("../data/", f"{folder}/"))
    layers = (ROOT / "prototxt" / "digits_lenet_train_test.prototxt").read_text()
    message = parse_net(layers.encode(), "net.prototxt")
    del message.layer[:2]
    solver = stock.make_solver(
        'base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 1', stock.input_net(64, (1, 28, 28), str(message))
    )
    images, labels = found["train"]
    feed = stock.batches(images, labels, 1, 0, 64)
    for _ in range(60):
        stock.load(solver.net, next(feed))
        solver.step(1)
    solver.net.save(str(folder / "digits.caffemodel"))
    config = Config(None, conf=f"{folder}/digits_lenet_solver.prototxt", model=f"{folder}/digits.caffemodel")
    export_model(config, str(folder / "deployed"))
    images, labels = found["test"]
    for digit in range(10):
        Image.fromarray(images[labels == digit][0][0]).save(folder / f"{digit}.png")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder


@pytest.fixture
def run(demo, monkeypatch, capfd):
    """run(words…) in the demo's folder: (status, standard output, standard error)."""
    monkeypatch.chdir(demo)

    def run(*words):
        status = main(["predict", *words])
        return (status, *capfd.readouterr())

    return run


NET = ("-net", "deployed/deploy.prototxt", "-model", "deployed/digits.caffemodel")
SCALED = (*NET, "-transform", "scale: 0.00390625")


def test_the_digits_of_pngs(run):
    status, out, err = run(*SCALED, "-labels", "names.txt", "-top", "3", *(f"{digit}.png" for digit in range(10)))
    assert (status, err) == (0, "")
    blocks = [block.splitlines() for block in out.rstrip("\n").split("\n\n")]
    assert [block[0] for block in blocks] == [f"{digit}.png" for digit in range(10)]
    assert [block[1].split()[1] for block in blocks] == list(NAMES)
    for block in blocks:
        assert len(block) == 4
        scores = [float(line.split()[0]) for line in block[1:]]
        assert scores == sorted(scores, reverse=True)
        assert 0 <= min(scores) <= max(scores) <= 1


def test_classes_without_names_and_flags_between_images(run):
    status, out, _ = run("7.png", *SCALED, "-resize", "3.png", "-top=1")
    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["7.png"],
        [out.split()[1], "7"],
        [],
        ["3.png"],
        [out.split()[4], "3"],
    ]


def test_json(run):
    status, out, _ = run(*SCALED, "-labels", "names.txt", "-outputFormat", "json", "5.png", "6.png")
    assert status == 0
    five, six = map(json.loads, out.splitlines())
    assert (five["image"], six["image"]) == ("5.png", "6.png")
    assert len(five["predictions"]) == 5
    assert five["predictions"][0]["class"] == 5
    assert six["predictions"][0]["label"] == "six"
    assert 0.2 < six["predictions"][0]["score"] <= 1


def test_a_forgotten_transformation_is_noted(run):
    _, _, err = run(*NET, "1.png")
    assert err == (
        "caffeonspark: deployed/deploy.prototxt says that its images go through -transform 'scale: 0.00390625', and "
        "none is given\n"
    )


def test_another_blob_and_another_size(run, demo):
    status, out, _ = run(*SCALED, "-features", "ip2", "-top", "2", "4.png")
    assert status == 0
    assert out.splitlines()[1].split()[1] == "4"
    with Image.open(demo / "4.png") as image:
        image.resize((56, 56)).convert("RGB").save(demo / "large.jpg", quality=95)
    status, out, _ = run(*SCALED, "-resize", "-top", "1", "large.jpg")
    assert out.splitlines()[1].split()[1] == "4"


def test_a_saved_models_folder(run, demo, tmp_path):
    from caffeonspark import CaffeModel

    model = CaffeModel.fromCaffe(
        demo / "deployed" / "deploy.prototxt", demo / "deployed" / "digits.caffemodel", transform="scale: 0.00390625"
    )
    folder = str(saved(tmp_path / "saved", model))
    status, out, err = run("-model", folder, "-labels", "names.txt", "-top", "1", "8.png")
    assert (status, err) == (0, "")
    assert out.split()[2] == "eight"
    assert out.split()[1] == f"{model.predict(demo / '8.png').max():.4f}"
    status, _, err = run("-model", folder, "-transform", "scale: 1", "8.png")
    assert (status, err) == (
        1,
        "caffeonspark: -transform goes with -net: a saved model says itself what its images go through\n",
    )


WRONG = {
    "no image": (SCALED, "no image is named: predict takes image files. See -help."),
    "missing": ((*SCALED, "0.png", "no.png"), "no.png does not exist"),
    "folder": ((*SCALED, "deployed"), "deployed is a folder: name the images in it"),
    "hdfs": ((*SCALED, "hdfs:///a.png"), "hdfs:///a.png: predict reads files of this machine: fetch it first"),
    "not an image": (
        (*SCALED, "names.txt"),
        "names.txt: the image cannot be decoded: it is in no image format that is known here",
    ),
    "size": (
        (*SCALED, "small.png"),
        "small.png: the image is 9x8 and does not fill the blob's 1x28x28; -resize would resize it",
    ),
    "net": (("-net", "no.prototxt", *SCALED[2:], "0.png"), "the prototxt (net) {}/no.prototxt does not exist"),
    "no net": (
        ("-model", "digits.caffemodel", "0.png"),
        "-net is missing: -model digits.caffemodel is a file of weights, which goes with a net",
    ),
    "no model": ((*NET[:2], "0.png"), "-model is missing: name the weights of -net, or a saved model's folder"),
    "weights": ((*NET[:2], "-model", "no.caffemodel", "0.png"), "the weights {}/no.caffemodel does not exist"),
    "not weights": ((*NET[:2], "-model", "0.png", "0.png"), "{}/0.png is no model of Caffe's"),
    "labels": (
        (*SCALED, "-labels", "nine.txt", "0.png"),
        "-labels nine.txt has 9 names, and the net gives 10 scores: one name a line, in the order of the classes",
    ),
    "no labels": ((*SCALED, "-labels", "no.txt", "0.png"), "-labels {}/no.txt does not exist"),
    "empty labels": (
        (*SCALED, "-labels", "empty.txt", "0.png"),
        "-labels empty.txt is empty: give the names of the classes, one a line",
    ),
    "flag": ((*SCALED, "-tpo", "3", "0.png"), "unknown flag -tpo. Did you mean 'top'?"),
    "blob": ((*SCALED, "-features", "ip9", "0.png"), "{}/deployed/deploy.prototxt: the TEST net has no blob 'ip9'."),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(run, demo, case):
    words, message = WRONG[case]
    Image.new("L", (8, 9)).save(demo / "small.png")
    (demo / "nine.txt").write_text("\n".join(NAMES[:9]))
    (demo / "empty.txt").write_text("\n")
    status, out, err = run(*words)
    assert status == 1
    assert err.startswith("caffeonspark: " + message.format(demo))
    assert err.count("\n") == 1
    assert not out


def test_help(run):
    status, out, _ = run("-help")
    assert status == 0
    assert "-labels FILE" in out
