"""CaffeClassifier as a PySpark user meets it: what notes on peers expect of an estimator, line by line."""

import copy
import pathlib
import pickle

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import OneVsRest, OneVsRestModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator, MulticlassClassificationEvaluator
from pyspark.ml.feature import IndexToString, StandardScaler, StringIndexer, VectorAssembler
from pyspark.ml.linalg import DenseVector, SparseVector, Vectors
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder, TrainValidationSplit
from pyspark.sql import functions as F

from caffeonspark import CaffeClassificationModel, CaffeClassifier, ConfigError, DataError, nets


def accuracy():
    """Spark's evaluator, which needs a session."""
    return MulticlassClassificationEvaluator(metricName="accuracy")


def classifier(**params):
    return CaffeClassifier(
        **{"net": nets.mlp(layers=[64, 32, 10]), "quiet": True, "maxIter": 150, "stepSize": 0.01, **params}
    )


@pytest.fixture(scope="module")
def model(digits):
    return classifier(clusterSize=2).fit(digits)


@pytest.fixture(scope="module")
def scored(model, digits):
    return model.transform(digits).cache()


# ---- columns and evaluators (lines 2 to 5, 24)


def test_the_three_columns(scored, model):
    assert scored.columns == ["features", "label", "number", "rawPrediction", "probability", "prediction"]
    row = scored.first()
    assert isinstance(row.rawPrediction, DenseVector) and isinstance(row.probability, DenseVector)
    assert len(row.probability) == model.numClasses == 10 and model.numFeatures == 64
    assert row.probability.toArray().sum() == pytest.approx(1, abs=1e-6)
    shifted = np.exp(row.rawPrediction.toArray() - max(row.rawPrediction))
    np.testing.assert_allclose(row.probability.toArray(), shifted / shifted.sum(), atol=1e-6)
    assert row.prediction == float(np.argmax(row.rawPrediction))
    assert dict(scored.dtypes)["prediction"] == "double"
    assert scored.schema["probability"].metadata == {"ml_attr": {"num_attrs": 10}}


def test_evaluators_take_the_output_as_it_is(scored):
    assert accuracy().evaluate(scored) > 0.9
    loss = MulticlassClassificationEvaluator(metricName="logLoss").evaluate(scored)
    rows = scored.select("probability", "label").collect()
    expected = -np.mean([np.log(row.probability[int(row.label)]) for row in rows])
    assert loss == pytest.approx(expected, rel=1e-6)


def test_outputs_feed_other_stages(scored):
    scaled = StandardScaler(inputCol="rawPrediction", outputCol="scaled").fit(scored).transform(scored)
    assert len(scaled.first().scaled) == 10


def test_columns_of_other_names(digits):
    frame = digits.select(F.col("features").alias(" the `x`.y"), F.col("label").alias(" target"))
    names = {"featuresCol": " the `x`.y", "labelCol": " target", "predictionCol": "guess", "probabilityCol": ""}
    fitted = classifier(maxIter=2, rawPredictionCol="", **names).fit(frame)
    assert fitted.transform(frame).columns == [" the `x`.y", " target", "guess"]
    with pytest.raises(ConfigError, match="' target' already"):
        fitted.setPredictionCol(" target").transform(frame)


def test_two_classes_from_one_score(spark, cancer):
    single = nets.mlp(layers=[30, 16, 1], loss="sigmoid")
    fitted = CaffeClassifier(net=single, quiet=True, maxIter=200).fit(cancer)
    scored = fitted.transform(cancer)
    assert fitted.numClasses == 2
    row = scored.first()
    assert row.rawPrediction[0] == -row.rawPrediction[1]
    assert row.probability[1] == pytest.approx(1 / (1 + np.exp(-row.rawPrediction[1])), abs=1e-6)
    assert row.prediction == float(row.rawPrediction[1] > 0)
    assert BinaryClassificationEvaluator().evaluate(scored) > 0.97
    assert accuracy().evaluate(scored) > 0.93


@pytest.mark.parametrize(
    "label, said",
    [
        ("label + 0.5", r"is 0\.5; a class is a whole number"),
        ("label - 1", "is -1; layer '"),
        ("double('NaN')", "is nan"),
    ],
)
def test_labels_that_are_no_class(digits, label, said):
    frame = digits.filter("number < 30 and label = 0").withColumn("label", F.expr(label))
    with pytest.raises(DataError, match=said):
        classifier(maxIter=2, batchSize=2).fit(frame)


@pytest.mark.long
def test_one_against_the_rest(digits, tmp_path):
    """Of pyspark.ml, with its weights, several at once, saved and loaded."""
    frame = digits.filter("label < 3").withColumn("w", F.lit(1.0))
    one = classifier(net=nets.mlp(layers=[64, 1], loss="sigmoid"), maxIter=60)
    fitted = OneVsRest(classifier=one, weightCol="w", parallelism=2).fit(frame)
    assert [model.getWeightCol() for model in fitted.models] == ["w"] * 3
    fitted.save(str(tmp_path / "models"))
    scored = OneVsRestModel.load(str(tmp_path / "models")).transform(frame)
    assert accuracy().evaluate(scored) > 0.95


# ---- searches (6 to 9)


def test_grids(digits):
    estimator = classifier(maxIter=20)
    grid = (
        ParamGridBuilder()
        .addGrid(estimator.stepSize, [0.0005, 0.01])
        .addGrid(estimator.batchSize, [16, 64])
        .addGrid(estimator.solverOverrides, [{"weight_decay": 0.001}])
        .build()
    )
    models = estimator.fit(digits, grid)
    assert [m.uid for m in models] == [estimator.uid] * 4
    contents = {m.caffemodel[0] for m in models}
    assert len(contents) == 4
    assert estimator.getStepSize() == 0.01


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.long
def test_parallel_searches_give_the_scores_of_one_after_another(digits, tmp_path, named):
    place = {"model": f"file:{tmp_path}/searched.caffemodel"} if named else {}
    estimator = classifier(maxIter=10, **place)
    grid = ParamGridBuilder().addGrid(estimator.stepSize, [0.001, 0.01]).build()

    def scores(parallelism):
        search = CrossValidator(
            estimator=estimator,
            estimatorParamMaps=grid,
            evaluator=accuracy(),
            numFolds=2,
            seed=3,
            parallelism=parallelism,
        )
        return search.fit(digits).avgMetrics

    assert scores(1) == scores(2)


def test_train_validation_split_keeps_its_models(digits):
    estimator = classifier(maxIter=5)
    grid = ParamGridBuilder().addGrid(estimator.stepSize, [0.001, 0.01]).build()
    search = TrainValidationSplit(
        estimator=estimator, estimatorParamMaps=grid, evaluator=accuracy(), collectSubModels=True, seed=1
    )
    assert len(search.fit(digits).subModels) == 2


# ---- Params (10 to 15)


def test_copies_leave_the_original_alone(model, digits):
    changed = model.copy({model.predictionCol: "other"})
    assert changed.transform(digits).columns[-1] == "other"
    assert model.transform(digits, {model.predictionCol: "third"}).columns[-1] == "third"
    assert model.getPredictionCol() == "prediction"
    assert changed.uid == model.uid


def test_explained_params_show_defaults():
    text = CaffeClassifier().explainParams()
    for name, default in (("stepSize", "0.001"), ("devices", "1"), ("predictionCol", "prediction"), ("seed", "0")):
        assert any(line.startswith(f"{name}:") and f"default: {default}" in line for line in text.splitlines()), name


def test_setters_and_getters():
    estimator = CaffeClassifier()
    for param in estimator.params:
        upper = param.name[0].upper() + param.name[1:]
        assert callable(getattr(estimator, "set" + upper)) and callable(getattr(estimator, "get" + upper))
    assert estimator.setStepSize(0.5).getStepSize() == 0.5
    assert estimator.setFeaturesCol("a, b").getFeaturesCol() == ["a", "b"]
    assert "stepSize" in estimator._repr_html_() and "devices" not in estimator._repr_html_()  # what was set


def test_wrong_params_are_told_when_they_are_set():
    with pytest.raises(TypeError, match=r"CaffeClassifier has no parameter 'stepsize'\. Did you mean 'stepSize'\?"):
        CaffeClassifier(stepsize=1)
    for name, value, said in (
        ("stepSize", "fast", "stepSize needs a number"),
        ("maxIter", 0, "maxIter must be at least 1"),
        ("maxIter", 2.5, "maxIter needs a whole number"),
        ("maxIter", True, "maxIter: give a number"),
        ("stepSize", float("nan"), "stepSize"),
        ("solverType", "Adamm", "solverType: 'Adamm' is none of"),
        ("labelCol", 3, "labelCol: give text"),
        ("featuresCol", 3, "featuresCol: give a list of names"),
        ("solverOverrides", "gamma", "solverOverrides: give fields"),
        ("net", 3, "net: give a prototxt's path or text"),
        ("initialModel", 3, "initialModel: give a CaffeModel"),
    ):
        with pytest.raises(ConfigError, match=said):
            CaffeClassifier(**{name: value})


@pytest.mark.parametrize(
    "params, said",
    [
        ({"maxIter": 5, "epochs": 2}, "maxIter and epochs are both set"),
        ({"stepSize": 0.1, "solverOverrides": {"base_lr": 0.2}}, "stepSize is 0.1 and solverOverrides has base_lr 0.2"),
        ({"solverOverrides": {"gama": 1}}, r"a solver has no field 'gama'\. Did you mean 'gamma'"),
        ({"solverOverrides": {"net": "x"}}, "'net' is the net"),
        ({"validationFraction": 0.1, "validationIndicatorCol": "v"}, "both say which rows to validate with"),
        ({"validationFraction": 1.5}, "below 1"),
        ({"patience": 3}, "patience looks at validations"),
        ({"validationIndicatorCol": "v"}, "no column 'v'"),
        ({"freeze": ["ip9"]}, "ip9"),
        ({"featuresCol": "feature"}, "feature"),
        ({"labelCol": "labels"}, "labels"),
        ({"net": nets.mlp(layers=[64, 5])}, "label|classes"),
        ({"net": nets.mlp(layers=[63, 10])}, "63|64"),
        ({"rawBlob": "fc9"}, "rawBlob"),
    ],
)
def test_what_a_fit_cannot_do_is_one_line_before_it(digits, params, said):
    with pytest.raises((ConfigError, DataError), match=said) as e:
        classifier(**{"maxIter": 2, **params} if "epochs" not in params else params).fit(digits)
    assert "\n" not in str(e.value)


# ---- saving (16 to 19)


def test_saved_and_loaded(model, scored, digits, tmp_path):
    model.save(str(tmp_path / "model"))
    loaded = CaffeClassificationModel.load(str(tmp_path / "model"))
    assert (loaded.uid, loaded.numClasses) == (model.uid, 10)
    order = F.col("number")
    again = loaded.transform(digits).orderBy(order).select("prediction").collect()
    assert again == scored.orderBy(order).select("prediction").collect()
    with pytest.raises(ConfigError, match=r"model exists already: write\(\)\.overwrite\(\)"):
        loaded.save(str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="holds no net"):  # and nothing is deleted for it
        CaffeClassificationModel().write().overwrite().save(str(tmp_path / "model"))
    loaded.write().overwrite().save(tmp_path / "model")
    assert CaffeClassificationModel.load(tmp_path / "model").uid == model.uid
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.transform(digits).select("prediction").count() == 1797


def test_loading_the_wrong_thing(model, tmp_path):
    model.save(str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="is a CaffeClassificationModel, not a CaffeClassifier: load it with"):
        CaffeClassifier.load(str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="no saved CaffeClassificationModel") as e:
        CaffeClassificationModel.load(str(tmp_path / "nothing"))
    assert "\n" not in str(e.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="no saved CaffeClassifier"):
        CaffeClassifier.load(str(tmp_path / "folder"))


def test_a_saved_estimator_holds_its_net(digits, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(str(nets.mlp(layers=[64, 10])))
    estimator = CaffeClassifier(net=pathlib.Path(net), quiet=True, maxIter=3, solverOverrides={"gamma": 0.5})
    expected = estimator.fit(digits).caffemodel[0]
    estimator.save(str(tmp_path / "estimator"))
    net.unlink()
    loaded = CaffeClassifier.load(str(tmp_path / "estimator"))
    assert loaded.fit(digits).caffemodel[0] == expected
    assert loaded.getSolverOverrides() == {"gamma": 0.5}


# ---- data (1, 20 to 23)


@pytest.mark.long
def test_kinds_of_features(spark, digits):
    array = digits.withColumn("features", F.udf(lambda v: v.toArray().tolist(), "array<double>")("features"))
    sparse = digits.rdd.map(
        lambda row: (
            Vectors.sparse(64, {int(i): float(row.features[i]) for i in row.features.toArray().nonzero()[0]}),
            row.label,
            row.number,
        )
    ).toDF(["features", "label", "number"])
    assert isinstance(sparse.first().features, SparseVector)
    found = [classifier(maxIter=3).fit(frame).caffemodel[0] for frame in (digits, array.repartition(4, "number"))]
    assert len(set(found)) == 1
    assert classifier(maxIter=3).fit(sparse).transform(sparse).count() == 1797


def test_null_features(spark, model, digits):
    gaps = digits.filter("number < 5").withColumn("features", F.when(F.col("number") % 2 == 0, F.col("features")))
    count = gaps.filter("features is null").count()
    with pytest.raises(Exception, match="null"):
        model.transform(gaps).collect()
    assert model.copy({model.handleInvalid: "skip"}).transform(gaps).count() == 5 - count
    kept = model.copy({model.handleInvalid: "keep"}).transform(gaps).collect()
    assert [row.prediction is None for row in kept] == [row.features is None for row in kept]
    with pytest.raises(DataError, match="null"):
        classifier(maxIter=2).fit(gaps)
    assert classifier(maxIter=2, batchSize=2, handleInvalid="skip").fit(gaps).numClasses == 10


def test_class_names_travel(spark, digits, tmp_path):
    named = digits.withColumn("name", F.concat(F.lit("digit "), F.col("label").cast("int").cast("string")))
    stages = [
        StringIndexer(inputCol="name", outputCol="index"),
        classifier(labelCol="index"),
        IndexToString(inputCol="prediction", outputCol="guess"),
    ]
    fitted = Pipeline(stages=stages).fit(named)
    fitted.write().overwrite().save(str(tmp_path / "pipeline"))
    scored = PipelineModel.load(str(tmp_path / "pipeline")).transform(named)
    assert scored.filter("guess = name").count() / scored.count() > 0.9
    assert fitted.stages[1].labels == fitted.stages[0].labels
    few = classifier(labelCol="index", net=nets.mlp(layers=[64, 9]))
    indexed = fitted.stages[0].transform(named)
    with pytest.raises(ConfigError, match="has 9 scores, and label column 'index' has 10 classes"):
        few.fit(indexed)
    more = classifier(labelCol="index", net=nets.mlp(layers=[64, 12]), maxIter=1).fit(indexed)
    assert more.labels == [*fitted.stages[0].labels, "10", "11"]
    assert more.transform(indexed).schema["prediction"].metadata["ml_attr"]["vals"] == more.labels
    assert more.evaluate(indexed).confusionMatrix.shape == (12, 12)


def test_assembled_features(spark, digits):
    wide = digits.select(
        "label", *[F.udf(lambda v, i=i: float(v[i]), "double")("features").alias(f"p{i}") for i in (20, 36)]
    )
    assembler = VectorAssembler(inputCols=["p20", "p36"], outputCol="features")
    fitted = Pipeline(stages=[assembler, classifier(net=nets.mlp(layers=[2, 10]), maxIter=3)]).fit(wide)
    assert fitted.transform(wide).columns[-1] == "prediction"


def test_several_columns_are_one_input_and_may_have_other_names(spark):
    rows = [(float(n % 3), float(n % 2), float(n % 2)) for n in range(60)]
    frame = spark.createDataFrame(rows, ["a", "b", "label"])
    fitted = classifier(net=nets.mlp(layers=[2, 2]), featuresCol=["a", "b"], maxIter=40, stepSize=0.1).fit(frame)
    assert accuracy().evaluate(fitted.transform(frame)) == 1
    renamed = frame.withColumnRenamed("a", "x").withColumnRenamed("b", "y")
    assert accuracy().evaluate(fitted.copy().setFeaturesCol(["x", "y"]).transform(renamed)) == 1
    with pytest.raises(ConfigError, match=r"featuresCol has 1 columns .x., and the model reads 2: a, b"):
        fitted.copy().setFeaturesCol("x").transform(renamed)


# ---- weights, validation, continuing (25, 26, 35)


def test_rows_without_weight_do_not_count(digits):
    wrong = digits.withColumn("label", F.lit(3.0)).withColumn("w", F.lit(0.0)).union(digits.withColumn("w", F.lit(1.0)))
    fitted = classifier(weightCol="w", epochs=10, maxIter=None).fit(wrong)
    assert accuracy().evaluate(fitted.transform(digits)) > 0.9


def test_early_stopping(digits):
    marked = digits.withColumn("held", F.col("number") % 5 == 0)
    fitted = classifier(
        validationIndicatorCol="held", patience=2, best=True, stepSize=0.02, solverOverrides={"test_interval": 5}
    ).fit(marked)
    tests = fitted.summary.validation
    assert fitted.summary.iteration < 150 or len(tests) == 31
    assert (tests["rows"] == marked.filter("held").count()).all()
    for chosen, use in (("true", "to train"), ("false", "to validate with")):
        with pytest.raises(DataError, match=f"there is no row {use}: the DataFrame is empty, or what validationInd"):
            classifier(validationIndicatorCol="held").fit(digits.withColumn("held", F.expr(chosen)))
    fraction = classifier(validationFraction=0.2, maxIter=40).fit(digits)
    assert len(fraction.summary.validation) >= 1


def test_going_on_from_a_model(digits, model):
    further = classifier(initialModel=model, maxIter=1, stepSize=1e-9).fit(digits)
    assert accuracy().evaluate(further.transform(digits)) > 0.9
    frozen = classifier(initialModel=model, freeze=["ip1"], maxIter=5).fit(digits)
    before, after = model.weights(), frozen.weights()
    assert all((a == b).all() for a, b in zip(before["ip1"], after["ip1"]))
    assert not (before["ip2"][0] == after["ip2"][0]).all()


# ---- transform (27 to 31)


def test_transform_runs_no_job(spark, model, digits):
    tracker = spark.sparkContext.statusTracker()
    spark.sparkContext.setJobGroup("lazy", "")
    try:
        out = model.transform(digits)
        together = VectorAssembler(inputCols=["probability", "rawPrediction"], outputCol="both").transform(out)
        assert together.schema["both"].metadata["ml_attr"]["num_attrs"] == 20
        assert tracker.getJobIdsForGroup("lazy") == []
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    assert out.limit(0).count() == 0
    assert model.transform(digits.filter("false")).collect() == []


def test_predict_one(model, scored):
    row = scored.first()
    assert model.predict(row.features) == row.prediction
    # BLAS rounds by the size of the batch
    np.testing.assert_allclose(model.predictProbability(row.features), row.probability.toArray(), rtol=1e-4)


def test_evaluate_and_summary(model, digits):
    found = model.evaluate(digits)
    assert found.accuracy == pytest.approx(accuracy().evaluate(model.transform(digits)))
    assert len(model.summary.history) > 0 and str(model.summary.history["loss"].dtype) == "float64"
    assert len(repr(model)) < 200
