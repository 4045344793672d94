"""The endings of Caffe's files."""

import pytest

from caffeonspark.formats.endings import ending_of, is_hdf5, model_ending, name_beside, state_ending, with_format


def test_endings():
    assert (model_ending(False), model_ending(True)) == (".caffemodel", ".caffemodel.h5")
    assert (state_ending(False), state_ending(True)) == (".solverstate", ".solverstate.h5")
    assert is_hdf5("a.caffemodel.h5") and is_hdf5("a.h5") and not is_hdf5("a.caffemodel")


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("hdfs:///m/lenet.caffemodel", ".caffemodel"),
        ("lenet_iter_10.caffemodel.h5", ".caffemodel.h5"),
        ("lenet_iter_10.solverstate", ".solverstate"),
        ("lenet_iter_10.solverstate.h5", ".solverstate.h5"),
        ("lenet.h5", ".caffemodel.h5"),
        ("lenet", ".caffemodel"),
        ("", ".caffemodel"),
    ],
)
def test_the_ending_of_a_path(path, ending):
    assert ending_of(path) == ending


@pytest.mark.parametrize("model", ["m/lenet.caffemodel", "m/lenet.caffemodel.h5", "m/lenet.h5", "m/lenet"])
def test_a_name_beside_a_model(model):
    assert name_beside(model, ".metrics.jsonl") == "m/lenet.metrics.jsonl"


def test_a_path_with_the_format_meant():
    assert with_format("lenet.caffemodel", True) == with_format("lenet.caffemodel.h5", True) == "lenet.caffemodel.h5"
    assert with_format("lenet.caffemodel", False) == with_format("lenet.caffemodel.h5", False) == "lenet.caffemodel"
