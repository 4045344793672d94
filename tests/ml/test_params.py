"""Params of the Spark ML classes, as they are set, unset, copied and explained: no Spark session is needed."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.param.shared import HasWeightCol

from caffeonspark import (
    CaffeClassificationModel,
    CaffeClassifier,
    CaffeEstimator,
    CaffeModel,
    CaffeRegressionModel,
    CaffeRegressor,
    ConfigError,
    nets,
)
from caffeonspark.nets.given import is_text


def test_none_unsets_a_param():
    """Also in a param map, where a search would leave one as it is by default."""
    estimator = CaffeClassifier(epochs=3, weightCol="w")
    assert not estimator.copy().setEpochs(None).isSet("epochs")
    assert not estimator.copy({estimator.weightCol: None}).isDefined("weightCol")
    assert not estimator.copy({estimator.epochs: None}).given().keys() & {"epochs"}
    assert estimator.setMaxIter(5).setMaxIter(None).getMaxIter() == 1000
    assert estimator.setParams(epochs=None).getEpochs() == 3  # a keyword that is not given


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", float("inf"), np.float32("nan")])
def test_numbers_are_finite(value):
    with pytest.raises(ConfigError, match=r"stepSize: .* is no number to use"):
        CaffeClassifier(stepSize=value)


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("epochs", 0, "epochs must be above 0, not 0"),
        ("validationFraction", 1, "validationFraction must be below 1, not 1"),
        ("conf", 3, "conf: give a solver's path or text, or a SolverParameter, not int"),
        ("net", b"\xff\xfen\x00", "net.prototxt: it is UTF-16"),
        ("featuresCol", [1, "b"], "featuresCol: give a list of names"),
        ("solverOverrides", {"gamma": None}, "give numbers, texts and lists of them, not NoneType"),
        ("solverOverrides", {"gamma": {"a": 1}}, "give numbers, texts and lists of them, not dict"),
    ],
)
def test_values_of_no_use(name, value, said):
    with pytest.raises(ConfigError, match=said):
        CaffeClassifier(**{name: value})


def test_nets_in_bytes_are_text():
    for content in (b'name: "one line"', bytearray(b'name: "one line"'), b'\xef\xbb\xbfname: "one line"\n'):
        net = CaffeClassifier(net=content).getNet()
        assert is_text(net) and 'name: "one line"' in net
    assert CaffeClassifier(net=pathlib.Path("a/net.prototxt")).getNet() == "a/net.prototxt"


def test_columns_keep_their_spaces_and_commas():
    estimator = CaffeClassifier(featuresCol=[" a", "b, c", "d.e"], labelCol=" label ", predictionCol="p ")
    assert (estimator.getFeaturesCol(), estimator.getLabelCol()) == ([" a", "b, c", "d.e"], " label ")
    assert estimator.getPredictionCol() == "p "
    assert CaffeClassifier(featuresCol=" a").getFeaturesCol() == [" a"]
    assert CaffeClassifier(featuresCol="a, b").getFeaturesCol() == ["a", "b"]
    assert CaffeClassifier(freeze=" ip1 , ip2").getFreeze() == ["ip1", "ip2"]


def test_overrides_are_python_values():
    given = {"gamma": np.float32(0.5), "stepvalue": np.array([5, 8]), "debug_info": np.bool_(True), "type": "SGD"}
    kept = CaffeClassifier(solverOverrides=given).getSolverOverrides()
    assert json.loads(json.dumps(kept)) == {"gamma": 0.5, "stepvalue": [5, 8], "debug_info": True, "type": "SGD"}


def test_explained_in_one_line_each_and_without_passwords():
    text = CaffeClassifier(net=nets.lenet(), mlflow="http://me:secret@host/x").explainParams()
    assert "secret" not in text and "current: http://…@host/x" in text
    lines = text.splitlines()
    assert len(lines) == len(CaffeClassifier().params) and max(map(len, lines)) < 400
    assert CaffeClassifier().explainParam("weightCol").endswith("(undefined)")
    assert CaffeClassifier(seed=3).explainParam("seed").endswith("(default: 0, current: 3)")


def test_spark_knows_who_takes_weights():
    """By which OneVsRest hands its weightCol on."""
    kinds = (CaffeClassifier, CaffeRegressor, CaffeEstimator)
    models = (CaffeClassificationModel, CaffeRegressionModel, CaffeModel)
    for kind in (*kinds, *models):
        assert isinstance(kind(), HasWeightCol)
        assert not kind().isDefined("weightCol")


@pytest.mark.parametrize("kind", [CaffeClassifier, CaffeRegressor, CaffeEstimator])
def test_what_is_no_dataframe(kind):
    estimator = kind(net=nets.mlp(layers=[2, 2]))
    for given in (pd.DataFrame({"label": [1]}), None, [(1, 2)]):
        with pytest.raises(ConfigError, match="the data has to be a Spark DataFrame, and is a"):
            estimator.fit(given)


@pytest.mark.parametrize("kind", [CaffeClassificationModel, CaffeRegressionModel, CaffeModel])
def test_a_model_without_a_net(kind):
    for ask in ("weights", "saveCaffe"):
        with pytest.raises(ConfigError, match="holds no net: fit or load one"):
            getattr(kind(), ask)(*(["folder"] if ask == "saveCaffe" else []))


def test_dropout_as_numpy_has_it():
    net = nets.mlp(layers=[2, 3, 2], dropout=np.float32(0.5))
    assert [layer.dropout_param.dropout_ratio for layer in net.layer if layer.type == "Dropout"] == [0.5]
