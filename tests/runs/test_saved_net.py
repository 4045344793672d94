"""Which net a snapshot is of, and what the formats can hold."""

import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.nets.schema import SolverParameter
from caffeonspark.plans.inspection import SolverInspection
from caffeonspark.runs.saved_net import check_files, difference, recorded

NET = (("conv", ((8, 1, 5, 5), (8,))), ("ip", ((10, 150), (10,))))


def test_the_same_net_is_no_other():
    assert difference(recorded(NET), NET) == ""
    assert difference(None, NET) == difference(recorded(NET), ()) == ""  # an older version's, or another engine


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ([NET[0], ("ip", ((20, 150), (20,)))], "its layer 'ip' has parameters of 20x150 and 20, this net's of 10x150"),
        ([NET[0]], "it has no layer 'ip', which this net has"),
        ([*NET, ("more", ((1,),))], "its layer 'more' is not in this net"),
        ([NET[1], NET[0]], "its layers are in another order"),
    ],
)
def test_another_net_is_told_by_its_layers(theirs, said):
    assert said in difference(recorded(theirs), NET)


HDF5, BINARY = SolverParameter(snapshot_format="HDF5"), SolverParameter(snapshot=5)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["conv", "inception/1x1"], "layer 'inception/1x1' has a '/' in its name, and Caffe's HDF5 files cannot"),
        (["relu", "relu"], "layer 'relu' shares its name with another layer"),
        (["", "b"], "layer '' has no name that HDF5 takes"),
    ],
)
def test_names_that_hdf5_cannot_hold(names, said):
    found = SolverInspection(tuple((name, ()) for name in names))
    with pytest.raises(ConfigError, match="set snapshot_format: BINARYPROTO, or rename it") as e:
        check_files(HDF5, found, "s.prototxt")
    assert e.value.message.startswith("s.prototxt: ") and said in e.value.message
    check_files(BINARY, found, "s.prototxt")


def test_what_protobuf_cannot_hold():
    large = SolverInspection(NET, 2**31, 2**31)
    with pytest.raises(ConfigError, match=r"s: the model has 2\.0 GB of numbers.*set snapshot_format: HDF5"):
        check_files(BINARY, large, "s")
    check_files(HDF5, large, "s")
    history = SolverInspection(NET, 2**31 - 1, 2**32)
    with pytest.raises(ConfigError, match=r"s: the solver state has 4\.0 GB"):
        check_files(BINARY, history, "s")
    check_files(SolverParameter(), history, "s")  # takes no snapshot by itself
