"""What editors and type checkers see of the public names; tests/typing/test_typing.py says what is wrong here."""

from typing import List, Optional

from pyspark.sql import DataFrame

from caffeonspark import (
    CaffeClassificationModel,
    CaffeClassifier,
    CaffeEstimator,
    CaffeModel,
    CaffeOnSpark,
    Config,
    DataSource,
    Observer,
    TrainingResult,
    ValidationResult,
    read_metrics,
)


class Best(Observer):
    def tested(self, result: TrainingResult, test: ValidationResult) -> None:
        print(test.iteration, test.outputs["loss"][0])


def right(spark: object, frame: DataFrame) -> Optional[CaffeModel]:
    config = Config(spark, conf="x", clusterSize=2, features=["ip1"], badRecords="skip", web=True, modelPath="file:m")
    config.features = ["ip1", "prob"]
    config.clusterSize = None
    names: List[str] = config.features
    size: Optional[int] = config.clusterSize
    path: str = config.protoFile
    ranks: int = config.ranks
    cos = CaffeOnSpark(spark, observers=[Best()])
    result = cos.train(DataSource(spark).getSource(config, isTraining=True))
    losses: List[float] = [loss for _, loss, _ in result.history]
    print(names, size, path, ranks, losses, list(read_metrics("m.metrics.jsonl")))
    estimator = CaffeEstimator(conf="x", clusterSize=2, features=["ip1"]).setParams(devices=2)
    print(estimator.devices)
    classifier = CaffeClassifier(net="x", featuresCol=["a", "b"], stepSize=0.1, solverType="Adam", epochs=2)
    rate: float = classifier.setMaxIter(5).setStepSize(0.5).getStepSize()
    model = CaffeClassificationModel.load("m")
    labels: List[str] = model.labels
    print(rate, labels, model.numClasses, model.evaluate(frame).accuracy)
    return None


def wrong(spark: object) -> None:
    config = Config(spark, conf="x", clusterSise=2)  # wrong: No parameter named "clusterSise"
    Config(spark, clusterSize="two")  # wrong: cannot be assigned to parameter "clusterSize"
    Config(spark, badRecords="ignore")  # wrong: cannot be assigned to parameter "badRecords"
    print(config.clusterSise)  # wrong: Cannot access attribute "clusterSise"
    config.clusterSise = 2  # wrong: Attribute "clusterSise" is unknown
    config.devices = "two"  # wrong: "Literal['two']" is not assignable to "int"
    CaffeEstimator(conf="x", clusterSise=2)  # wrong: No parameter named "clusterSise"
    CaffeEstimator(conf="x", output="y")  # wrong: No parameter named "output"
    CaffeEstimator().setParams(clusterSise=2)  # wrong: No parameter named "clusterSise"
    CaffeClassifier(net="x", stepsize=0.1)  # wrong: No parameter named "stepsize"
    CaffeClassifier(stepSize="fast")  # wrong: cannot be assigned to parameter "stepSize"
    CaffeClassifier(solverType="Adamm")  # wrong: cannot be assigned to parameter "solverType"
    CaffeClassifier().setMaxIter("many")  # wrong: cannot be assigned to parameter "value"
    CaffeOnSpark(spark, observers=[Best])  # wrong: cannot be assigned to parameter "observers"
