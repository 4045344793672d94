"""-net in the place of a solver: the net that is run, and what is said where flags do not go together."""

import pytest
from google.protobuf import text_format

from caffeonspark import Config, ConfigError
from caffeonspark.inference.tasks import check_model
from caffeonspark.nets.net import TEST, TRAIN
from caffeonspark.nets.schema import NetParameter
from tests.support import stock
from tests.support.prototxts import ONE_ITERATION

DEPLOY = """
input: "data" input_dim: 4 input_dim: 1 input_dim: 12 input_dim: 12
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
"""


@pytest.fixture
def deploy(tmp_path):
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    (tmp_path / "rows").mkdir()
    return str(tmp_path / "deploy.prototxt")


def reading(config):
    (layer,) = config.run_config.net(TEST).data_layers()
    return layer.cos_data_param


def test_flags_make_the_layer_that_reads(deploy, tmp_path):
    words = ["-net", deploy, "-test", "-columns", "data=image", "-transform", "scale: 0.5 mean_value: 3"]
    forms = (words, {"net": deploy, "columns": {"data": "image"}, "transform": "scale: 0.5 mean_value: 3"})
    for form in forms:
        block = reading(Config(None, form)).top[0]
        assert block.name == "image"
        assert (block.transform_param.scale, list(block.transform_param.mean_value)) == (0.5, [3])
    config = Config(None, net=deploy, data=str(tmp_path / "rows"), dataFormat="json")
    assert reading(config).source.endswith(f"{tmp_path}/rows")
    assert reading(config).dataframe_format == "json"
    assert config.net == deploy
    config.columns = {"data": "pixels"}
    config.transform = "crop_size: 12"
    assert (reading(config).top[0].name, reading(config).top[0].transform_param.crop_size) == ("pixels", 12)


def test_a_net_that_has_changed_is_read_again(deploy, tmp_path):
    config = Config(None, net=deploy)
    (tmp_path / "deploy.prototxt").write_text(DEPLOY.replace("input_dim: 4", "input_dim: 7"))
    config.refresh()
    assert reading(config).batch_size == 7


def test_a_net_that_is_an_object_or_a_text():
    message = NetParameter()
    text_format.Parse(DEPLOY, message)
    for given in (DEPLOY, DEPLOY.encode(), message):
        config = Config(None, net=given)
        assert (reading(config).batch_size, config.solver_path) == (4, "net.prototxt")
    with pytest.raises(ConfigError, match=r"^net\.prototxt is a solver, not a net|^-net net\.prototxt is a solver"):
        Config(None, net=ONE_ITERATION.encode())
    with pytest.raises(ConfigError, match=r"^net\.prototxt: not a prototxt: it is not text$"):
        Config(None, net=b"\0")


def test_a_net_with_data_layers_needs_no_solver(tmp_path):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net("somewhere", 4, 6))
    config = Config(None, net=str(tmp_path / "net.prototxt"), model="m")
    net = config.run_config.net(TEST)
    assert net.data_layers()[0].data_param.batch_size == 6
    assert net.output_blobs() == ["accuracy", "loss"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"conf": "s"}, r"-conf and -net are both given: -net stands for a solver to -test and to extract -features"),
        ({"train": True}, r"-train needs a solver: give -conf instead of -net"),
        ({"columns": "data"}, r"-columns: 'data' names no column of a blob: write BLOB=COLUMN,…"),
        ({"columns": "data=a,data=b"}, r"-columns: input 'data' has two columns, 'a' and 'b'"),
        ({"columns": "dta=a"}, r"-columns: .*deploy.prototxt has no input 'dta'\. Did you mean 'data'\?"),
        ({"transform": "scal: 1"}, r"^-transform: TransformationParameter has no field 'scal'"),
        ({"transform": "scale 1"}, r"^-transform: "),
        ({"data": "nowhere"}, r"-data nowhere does not exist"),
        ({"model": "a", "weights": "b"}, r"-model a, -weights b: with -net one of them is the model"),
        ({"net": "nowhere.prototxt"}, r"the net \(-net\) nowhere.prototxt does not exist"),
    ],
)
def test_flags_that_do_not_go_together(deploy, flags, message):
    with pytest.raises(ConfigError, match=message) as raised:
        Config(None, {"net": deploy, **flags})
    assert "\n" not in raised.value.message


def test_a_net_in_the_place_of_a_solver(deploy):
    with pytest.raises(
        ConfigError, match=r"deploy.prototxt:2: SolverParameter has no field 'input'\. It is a net, not a"
    ):
        Config(None, conf=deploy)


def test_a_solver_in_the_place_of_a_net(tmp_path):
    (tmp_path / "solver.prototxt").write_text(ONE_ITERATION)
    with pytest.raises(ConfigError, match=r"^-net .*solver.prototxt is a solver, not a net: -conf takes solvers$"):
        Config(None, net=str(tmp_path / "solver.prototxt"))


def test_a_net_whose_inputs_have_no_shape(tmp_path):
    (tmp_path / "net.prototxt").write_text('input: "x" layer { name: "r" type: "ReLU" bottom: "x" top: "r" }')
    with pytest.raises(ConfigError, match=r"net.prototxt: the net has no input: give it an Input layer"):
        Config(None, net=str(tmp_path / "net.prototxt"))


def test_there_is_nothing_to_train(deploy):
    with pytest.raises(ConfigError, match=r"a net cannot be trained without a solver: give -conf instead of -net"):
        Config(None, net=deploy).run_config.net(TRAIN)
    with pytest.raises(ConfigError, match=r"set -conf to the solver prototxt, or -net to a net to test"):
        Config(None).run_config.net(TEST)


@pytest.mark.parametrize("flag", ["data", "columns", "transform"])
def test_a_solvers_net_names_its_data_itself(tmp_path, flag):
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net("somewhere", 4))
    (tmp_path / "solver.prototxt").write_text(ONE_ITERATION)
    with pytest.raises(
        ConfigError, match=f"-{flag} goes with -net; the data of a solver's net is what its data layers"
    ):
        Config(None, {"conf": str(tmp_path / "solver.prototxt"), flag: "data=x"})


@pytest.mark.parametrize("flag", ["model", "weights"])
def test_weights_are_named_as_in_caffe_test(deploy, tmp_path, flag):
    (tmp_path / "m.caffemodel").write_bytes(b"x")
    config = Config(None, {"net": deploy, flag: str(tmp_path / "m.caffemodel")})
    assert check_model(config.run_config).endswith("m.caffemodel")
    with pytest.raises(ConfigError, match=rf"^-{flag} a.caffemodel,b.caffemodel: -test and -features take one model"):
        check_model(Config(None, {"net": deploy, flag: "a.caffemodel,b.caffemodel"}).run_config)
    with pytest.raises(ConfigError, match=rf"^the model \(-{flag}\) gone.caffemodel does not exist$"):
        check_model(Config(None, {"net": deploy, flag: "gone.caffemodel"}).run_config)
    with pytest.raises(ConfigError, match="-model is missing"):
        check_model(Config(None, net=deploy).run_config)
