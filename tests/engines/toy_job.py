"""Linear regression on two executors, in a process where ``import caffe`` fails: ``toy_job.py FOLDER``."""

import json
import pathlib
import sys

from pyspark.sql import SparkSession

from caffeonspark import CaffeOnSpark, Config, DataSource

NET = """
layer {{ name: "data" type: "CoSData" top: "x" top: "y" source_class: "DataFrameSource"
  cos_data_param {{ source: "file:{folder}/rows" dataframe_format: "parquet" batch_size: 10
    top {{ name: "x" type: FLOAT_ARRAY channels: 3 sample_num_axes: 1 }}
    top {{ name: "y" type: FLOAT sample_num_axes: 0 }} }} }}
layer {{ name: "line" type: "InnerProduct" bottom: "x" top: "line" inner_product_param {{ num_output: 1 }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "line" bottom: "y" top: "loss" }}
"""


def main(folder):
    (folder / "net.prototxt").write_text(NET.format(folder=folder))
    spark = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.sparkContext.addPyFile(str(pathlib.Path(__file__).with_name("toy_engine.py")))
    cos, data, found = CaffeOnSpark(spark), DataSource(spark), {}

    def config(name, settings="", **flags):
        place = folder / name
        place.mkdir(exist_ok=True)
        (place / "solver.prototxt").write_text(
            f'net: "{folder}/net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "step" gamma: 0.5 stepsize: 8 '
            f"random_seed: 3 {settings}"
        )
        flags = {"conf": str(place / "solver.prototxt"), "model": f"file:{place}/m.caffemodel", **flags}
        return Config(spark, {"-engine": "toy_engine:LinearRegression", "clusterSize": 2, "quiet": True, **flags})

    plain = config("plain", "max_iter: 20 iter_size: 2 test_interval: 10")
    curve = cos.trainWithValidation(data.getSource(plain, True), data.getSource(plain, False)).collect()
    found["curve"] = [[row.iteration, row.rows, row.loss[0]] for row in curve]
    found["losses"] = [loss for _, loss, _ in cos.result.history]
    found["hosts"] = len(cos.result.hosts)
    plain.features = "line"
    rows = cos.features(data.getSource(plain, False)).collect()
    found["features"] = {row.SampleID: row.line[0] for row in rows}
    found["means"] = cos.test(data.getSource(plain, False))
    cos.train(data.getSource(config("whole", "max_iter: 20", shuffle=True), True))
    for kind in ("BINARYPROTO", "HDF5"):
        form = f"snapshot_format: {kind} "
        cos.train(data.getSource(config(f"parts-{kind}", form + "max_iter: 12 snapshot: 6", shuffle=True), True))
        parts = config(f"parts-{kind}", form + "max_iter: 20", shuffle=True, resume=True)
        found[f"resumed-{kind}"] = [at for at, _, _ in cos.train(data.getSource(parts, True)).history]
    apart = {"sync": "average", "syncInterval": 5, "shuffle": True}
    cos.train(data.getSource(config("whole-average", "max_iter: 20", **apart), True))
    found["average"] = [[at, loss] for at, loss, _ in cos.result.history]
    cos.train(data.getSource(config("parts-average", "max_iter: 12 snapshot: 6", **apart), True))
    parts = config("parts-average", "max_iter: 20", resume=True, **apart)
    found["resumed-average"] = [at for at, _, _ in cos.train(data.getSource(parts, True)).history]
    found["caffe loaded"] = sorted(name for name in sys.modules if name.partition(".")[0] == "caffe")
    spark.stop()
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
