"""Flags in their four forms, CaffeOnSpark's names for them, and where files are looked for."""

import pytest

from caffeonspark import Config, ConfigError
from caffeonspark.settings import FLAGS, Settings
from tests.support import stock
from tests.support.prototxts import ONE_ITERATION as SOLVER


def forms(conf):
    return [
        [
            "-conf",
            conf,
            "-train",
            "-devices",
            "2",
            "-features",
            "ip1,ip2",
            "-label",
            "label",
            "-connection",
            "Ethernet",
        ],
        [f"-conf={conf}", "-train=true", "-devices=2", "-features=ip1, ip2", "-label=label"],
        {"-conf": conf, "-train": "", "devices": 2, "features": ["ip1", "ip2"], "-label": "label"},
        {"protoFile": conf, "isTraining": True, "devices": "2", "features": "ip1,ip2", "label": "label"},
    ]


@pytest.mark.parametrize("form", range(4))
def test_every_form_says_the_same(conf, form):
    config = Config(None, forms(conf)[form])
    assert (config.train, config.devices, config.features, config.label) == (True, 2, ["ip1", "ip2"], "label")
    assert (config.conf, config.connection, config.outputFormat) == (conf, "ethernet", "json")
    assert config.blobs == ["ip1", "ip2", "label"]
    assert config.isFeature
    assert config.solverParameter.max_iter == 1
    assert config.netParam.layer[0].name == "data"


def test_keywords_win_and_attributes_are_checked(conf):
    config = Config(None, ["-devices", "2"], conf=conf, devices=3)
    assert config.devices == 3
    config.modelPath = "file:x"
    assert config.model == "file:x"
    config.devices = "4"
    assert config.devices == 4
    with pytest.raises(ConfigError, match=r"-devices must be at least 1, not 0"):
        config.devices = 0
    with pytest.raises(AttributeError, match=r"no setting 'modelpath'\. Did you mean 'modelPath'\?"):
        _ = config.modelpath


def test_the_label_is_not_asked_for_twice(conf):
    assert Config(None, conf=conf, features="label,ip2", label="label").blobs == ["label", "ip2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-modle", "x"], r"unknown flag -modle\. Did you mean 'model'\?"),
        (["--model", "x"], r"unknown flag --model\. Did you mean 'model'\?"),
        (["-devices", "two"], r"-devices needs a whole number, not 'two'"),
        (["-devices"], r"-devices needs a value"),
        (["-conf", "-train"], r"-conf needs a value"),
        (["train"], r"'train' follows no flag that takes a value"),
        (["-train=maybe"], r"-train is a switch"),
        (["-connection", "pigeon"], r"-connection: 'pigeon' is none of ethernet, infiniband"),
        (["-badRecordsMax", "nan"], r"-badRecordsMax must be at least 0"),
        (["-devices", 0], r"-devices must be at least 1, not 0"),
        ({"-clusterSise": 2}, r"unknown flag -clusterSise\. Did you mean 'clusterSize'\?"),
        ({2: "devices"}, r"unknown flag 2\. See -help"),
        ("-devices 2", r"a dict, as keywords, or as a list of words, not as str: '-devices 2'"),
        (2, r"a list of words, not as int: 2"),
    ],
)
def test_flags_that_are_wrong(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Config(None, arguments)


def test_reader_options_have_values():
    """One without a value would have been empty without a word."""
    assert Config(None, readerOptions=["header=true", "sep=="]).run_config.for_sources.reader_options["sep"] == "="
    for option in ("header", "=true"):
        with pytest.raises(ConfigError, match=rf"^-readerOptions: '{option}' is no option with a value: write NAME"):
            _ = Config(None, readerOptions=["sep=;", option]).run_config.for_sources


def test_a_switch_may_be_told_that_it_is_off():
    config = Config(None, ["-checksum", "false", "-shuffle", "-resize", "true", "-devices", "2"])
    assert (config.checksum, config.shuffle, config.resize, config.devices) == (False, True, True, 2)
    assert Config(None, ["-checksum"]).checksum
    assert Config(None, []).checksum
    assert not Config(None, checksum=False).checksum
    with pytest.raises(ConfigError, match="'maybe' follows no flag"):
        Config(None, ["-shuffle", "maybe"])


def test_words_may_be_numbers():
    assert Config(None, ["-devices", 2, "-stallTimeout", 1.5]).devices == 2


def test_a_value_may_begin_with_a_dash():
    assert FLAGS.parse_args(["-output", "-3"]) == {"output": "-3"}


def test_cluster_size(spark, conf):
    """An explicit value, else spark.executor.instances, else 1; and it says which."""
    settings = spark.sparkContext._conf  # what SparkContext.getConf copies
    assert Config(spark, conf=conf).describe_cluster() == "1 rank: 1 executor (from the default) x 1 device"
    settings.set("spark.executor.instances", "3")
    try:
        config = Config(spark, conf=conf, devices=2)
        assert config.describe_cluster() == "6 ranks: 3 executors (from spark.executor.instances) x 2 devices"
        config.clusterSize = 2
        assert config.describe_cluster() == "4 ranks: 2 executors (from -clusterSize) x 2 devices"
    finally:
        settings._jconf.remove("spark.executor.instances")


def test_a_net_is_looked_for_beside_the_solver_then_where_one_is(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "there" / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match=r"the net net.prototxt \(named by .*solver.prototxt\) does not exist"):
        Config(None, conf="../there/solver.prototxt")
    (tmp_path / "here" / "net.prototxt").write_text('name: "here" ' + stock.lmdb_net("x", 4))
    assert Config(None, conf="../there/solver.prototxt").netParam.name == "here"
    (tmp_path / "there" / "net.prototxt").write_text('name: "there" ' + stock.lmdb_net("x", 4))
    assert Config(None, conf="file:../there/solver.prototxt").netParam.name == "there"


@pytest.mark.parametrize(
    ("solver", "net", "message"),
    [
        ("max_iter: 1", "", r"solver.prototxt: exactly one of net, net_param, train_net and train_net_param"),
        ('net: "net.prototxt" max_iter: 1 type: "Adma"', "", r"unknown solver type 'Adma'\. Did you mean 'Adam'\?"),
        ('net: "net.prototxt" max_iter: 1 iter_size: 0', "", r"iter_size must be at least 1"),
        (
            'net: "net.prototxt" max_iters: 1',
            "",
            r"solver.prototxt:1: .*no field 'max_iters'\. Did you mean 'max_iter'\?",
        ),
        ('net: "net.prototxt"\nmax_iter: many', "", r"solver.prototxt:2: "),
        (
            SOLVER,
            "layers { name: 'a' type: RELU } layer { name: 'b' type: 'ReLU' }",
            r"net.prototxt: layer 'b': this net has 'layer' and, of older versions of Caffe, 'layers' \('a'\)",
        ),
        (SOLVER, 'name: "nothing"', r"net.prototxt: the net has no layer"),
        (SOLVER, "layer { type: ", r"net.prototxt:1: "),
        (SOLVER, "\x00\xff", r"net.prototxt"),
    ],
)
def test_prototxts_that_are_wrong(tmp_path, solver, net, message):
    (tmp_path / "solver.prototxt").write_text(solver)
    (tmp_path / "net.prototxt").write_bytes(net.encode("latin-1") or stock.lmdb_net("x", 4).encode())
    with pytest.raises(ConfigError, match=message):
        Config(None, conf=str(tmp_path / "solver.prototxt"))


def test_flags_that_may_stand_alone():
    assert FLAGS.parse_args(["-web", "-train"]) == {"web": "0", "train": True}
    assert FLAGS.parse_args(["-web", "8080", "-mlflow"]) == {"web": "8080", "mlflow": "default"}
    assert FLAGS.parse_mapping({"web": True, "mlflow": False}) == {"web": "0", "mlflow": ""}
    with pytest.raises(ConfigError, match="needs a value"):
        FLAGS.parse_args(["-tensorboard", "-web"])


def test_ranks_get_no_passwords():
    """What they get is a block of Spark's, which others may reach."""
    given = {
        "model": "ftp://me:pass-1@host/m",
        "weights": "ftp://me:pass-2@host/a,/b",
        "mlflow": "http://u:pass-3@host",
    }
    ranks = Settings(**given, readerOptions=("password=pass-4",), tensorboard="hdfs://host/t", stallTimeout=5).for_ranks
    assert "pass-" not in repr(ranks)
    assert (ranks.model, ranks.weights) == ("ftp://me@host/m", "ftp://me@host/a,/b")
    assert (ranks.tensorboard, ranks.stallTimeout) == ("hdfs://host/t", 5)


def test_a_switch_with_one_more_choice():
    for words in (["-encrypt"], ["-encrypt", "true"], ["-encrypt=true"], ["-encrypt", "YES"], ["-encrypt", "1"]):
        assert FLAGS.parse_args([*words, "-train"]) == {"encrypt": "true", "train": True}
    assert FLAGS.parse_args(["-encrypt", "Anyway"]) == {"encrypt": "anyway"}
    for value, expected in ((True, "true"), (False, ""), (None, ""), ("false", ""), ("no", ""), ("anyway", "anyway")):
        assert FLAGS.parse_mapping({"encrypt": value}) == {"encrypt": expected}
    with pytest.raises(ConfigError, match="-encrypt: 'perhaps' is none of true, anyway"):
        FLAGS.parse_args(["-encrypt", "perhaps"])
