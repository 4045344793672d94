"""Bad input through spark-submit: one clear line, exit status 1, within 30 seconds, and no Java stack."""

import importlib.util
import re
import subprocess
import sys
import time

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.support import stock
from tests.support.data_files import write_lmdb
from tests.support.paths import ROOT

pytestmark = [pytest.mark.spark, pytest.mark.long]

SOLVER = (
    'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: 40 random_seed: 1 test_interval: 0\n'
)
COS = """
layer {{ name: "data" type: "CoSData" top: "data" top: "label" include {{ phase: TRAIN }} include {{ phase: TEST }}
  source_class: "com.yahoo.ml.caffe.DataFrameSource"
  cos_data_param {{ batch_size: 8 source: "frame.parquet"
    top {{ name: "{column}" type: {kind} channels: {channels} height: {height} width: {width} {more} }}
    top {{ name: "label" type: {label} channels: 1 sample_num_axes: 0 }} }} }}
"""


PROMISED = 30.0  # seconds
_good_run = [0.0]  # seconds that a run takes here in which everything is in order: a slow or busy machine shows in it


def limit():
    """Seconds in which an error has to come: those promised, or on a busy machine what three good runs take."""
    return max(PROMISED, 3 * _good_run[0])


CLUSTER = "local-cluster[2,1,1024]"  # for errors that executors find; the driver's own are found without


def submit(folder, *flags, conf=(), master="local[2]"):
    """spark-submit in ``folder``: (status, its lines that are not Spark's log, seconds)."""
    command = ["spark-submit", "--master", master]
    quick = "-XX:TieredStopAtLevel=1"  # JVMs that live for seconds gain nothing from the optimising compiler
    for setting in (
        "spark.ui.enabled=false",
        f"spark.driver.extraJavaOptions={quick}",
        f"spark.executor.extraJavaOptions={quick}",
        *conf,
    ):
        command += ["--conf", setting]
    start = time.monotonic()
    process = subprocess.run(
        [*command, str(ROOT / "scripts" / "caffeonspark_main.py"), *flags],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=120,
    )
    seconds = time.monotonic() - start
    lines = [line for line in process.stdout.splitlines() if not re.match(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d ", line)]
    return process.returncode, lines, seconds


def fails(folder, pattern, *flags, **options):
    """The submission ends as bad input must."""
    status, lines, seconds = submit(folder, *flags, **options)
    if seconds > limit():  # the machine may have been busy with something else; a hang is slow twice
        status, lines, seconds = submit(folder, *flags, **options)
    text = "\n".join(lines)
    assert status == 1, text
    ours = [line for line in lines if line.startswith("caffeonspark: ")]
    assert len(ours) == 1, text
    assert re.search(pattern, ours[0]), ours[0]
    assert not re.search(r"^\s+at |Traceback|Exception|\*\*\* (Check|Aborted)", text, re.M), text
    assert seconds < limit()
    assert not list(folder.glob("*.caffemodel"))


TRAIN = ("-train", "-conf", "solver.prototxt", "-model", "file:out.caffemodel", "-clusterSize", "2")


@pytest.fixture
def folder(tmp_path, small_images):
    """A folder with everything in order: each test breaks one thing."""
    images, labels = small_images
    write_lmdb(tmp_path / "lmdb", images[:100], labels[:100])
    (tmp_path / "net.prototxt").write_text(stock.lmdb_net("lmdb", 8))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def use_frame(folder, images, labels, kind="RAW_IMAGE", column="data", label="INT", shape=(1, 12, 12), more=""):
    """Make the net read frame.parquet with these two columns."""
    table = pa.table({"id": [f"row-{i}" for i in range(len(labels))], "data": images, "label": labels})
    pyarrow.parquet.write_table(table, folder / "frame.parquet")
    channels, height, width = shape
    layer = COS.format(column=column, kind=kind, channels=channels, height=height, width=width, label=label, more=more)
    (folder / "net.prototxt").write_text(layer + stock.LAYERS)


def raw(small_images, count=40):
    return [image.tobytes() for image in small_images[0][:count]], [int(v) for v in small_images[1][:count]]


def test_everything_in_order_trains(folder):
    status, lines, _good_run[0] = submit(folder, *TRAIN, master=CLUSTER)
    assert status == 0, lines
    assert (folder / "out.caffemodel").exists()
    assert "saved file:out.caffemodel" in lines


def test_missing_solver(folder):
    (folder / "solver.prototxt").unlink()
    fails(folder, r"the solver \(-conf\) solver.prototxt does not exist", *TRAIN)


def test_missing_net(folder):
    (folder / "net.prototxt").unlink()
    fails(folder, r"the net net.prototxt \(named by solver.prototxt\) does not exist", *TRAIN)


def test_missing_lmdb(folder):
    (folder / "net.prototxt").write_text(stock.lmdb_net("elsewhere_lmdb", 8))
    fails(folder, r"net.prototxt: layer 'data': source elsewhere_lmdb does not exist", *TRAIN)


def test_unparsable_prototxt(folder):
    text = (folder / "net.prototxt").read_text().replace("num_output: 150", "num_outputs: 150")
    (folder / "net.prototxt").write_text(text)
    line = 1 + text[: text.index("num_outputs")].count("\n")
    pattern = rf"net.prototxt:{line}: InnerProductParameter has no field 'num_outputs' \(layer .*\)\. Did you mean"
    fails(folder, pattern, *TRAIN)


def test_unknown_flag(folder):
    fails(folder, r"unknown flag -cluster_size\. Did you mean 'clusterSize'\?", *TRAIN, "-cluster_size", "2")


def test_unknown_layer_type(folder):
    text = (folder / "net.prototxt").read_text().replace('type: "ReLU"', 'type: "Relu"')
    (folder / "net.prototxt").write_text(text)
    fails(folder, r"net.prototxt: layer 'relu' .*unknown layer type 'Relu'\. Did you mean 'ReLU'\?", *TRAIN)


def test_wrong_column(folder, small_images):
    use_frame(folder, *raw(small_images), column="dta")
    fails(folder, r"layer 'data': top 'data' reads column 'dta'.*Did you mean 'data'\?", *TRAIN)


def test_wrong_array_length(folder, small_images):
    images, labels = small_images
    arrays = [image.reshape(-1).tolist() for image in images[:40]]
    arrays[17] = arrays[17][:-1]
    use_frame(folder, arrays, labels[:40].tolist(), kind="FLOAT_ARRAY")
    fails(
        folder,
        r"record 'row-17': column 'data' has 143 values; top 'data' takes 144 \(1x12x12\)",
        *TRAIN,
        master=CLUSTER,
    )


def test_undecodable_image(folder, small_images):
    import io

    from PIL import Image

    def png(image):
        out = io.BytesIO()
        Image.fromarray(image[0]).save(out, "PNG")
        return out.getvalue()

    images = [png(image) for image in small_images[0][:40]]
    images[5] = images[5][:60]
    use_frame(folder, images, [int(v) for v in small_images[1][:40]], kind="ENCODED_IMAGE", more="transform_param {}")
    fails(folder, r"layer 'data'.*record 'row-5': the image cannot be decoded", *TRAIN, master=CLUSTER)
    fails(
        folder,
        r"record 'row-5': the image cannot be decoded",
        "-features",
        "ip2",
        *features_flags(folder),
        master=CLUSTER,
    )


def features_flags(folder):
    """Flags of a feature extraction with a model of random weights."""
    solver = stock.make_solver('base_lr: 0.1 lr_policy: "fixed"', stock.input_net(4))
    solver.net.save(str(folder / "random.model"))
    return ("-conf", "solver.prototxt", "-model", "file:random.model", "-output", f"file:{folder}/features")


def test_label_that_is_no_number(folder, small_images):
    images, labels = raw(small_images)
    names = [str(label) for label in labels]
    names[30] = "cat"
    use_frame(folder, images, names, label="STRING")
    fails(folder, r"record 'row-30': column 'label' is 'cat', no number", *TRAIN, master=CLUSTER)


def test_corrupt_datum(folder):
    with lmdb.open(str(folder / "lmdb")) as env, env.begin(write=True) as transaction:
        transaction.put(b"00000070", b"\xff\xff not a datum")
    fails(folder, r"LMDB .*record '00000070': the value is not a Datum", *TRAIN, master=CLUSTER)


def test_empty_dataset(folder, small_images):
    write_lmdb(folder / "empty_lmdb", [], [])
    (folder / "net.prototxt").write_text(stock.lmdb_net("empty_lmdb", 8))
    fails(folder, r"layer 'data': LMDB .*empty_lmdb is empty", *TRAIN)


def test_empty_dataframe(folder):
    use_frame(folder, pa.array([], pa.binary()), pa.array([], pa.int32()))
    fails(folder, r"layer 'data': DataFrame frame.parquet is empty", *TRAIN)


def test_more_ranks_than_slots(folder):
    flags = [*TRAIN[:-1], "3"]
    fails(folder, r"need 3 task slots, and the cluster has 2 .*lower -clusterSize", *flags, master=CLUSTER)


def test_fewer_records_than_ranks(folder, small_images):
    write_lmdb(folder / "one_lmdb", small_images[0][:1], small_images[1][:1])
    (folder / "net.prototxt").write_text(stock.lmdb_net("one_lmdb", 8))
    fails(folder, r"one_lmdb has no record for rank 1 of 2", *TRAIN)


def test_dynamic_allocation(folder):
    conf = ("spark.dynamicAllocation.enabled=true", "spark.dynamicAllocation.shuffleTracking.enabled=true")
    fails(folder, r"spark.dynamicAllocation.enabled is true.*set it to false", *TRAIN, conf=conf)


def test_no_test_phase(folder):
    text = (folder / "net.prototxt").read_text()
    start = text.index("layer", 10)
    (folder / "net.prototxt").write_text(text[:start] + text[text.index("layer", start + 5) :])
    fails(folder, r"net.prototxt: the net has no data layer in the TEST phase", "-test", *features_flags(folder))


def test_loss_becomes_nan(folder):
    (folder / "solver.prototxt").write_text(SOLVER.replace("0.01", "1e12"))
    fails(folder, r"the loss became (nan|inf) at iteration \d+", *TRAIN, master=CLUSTER)


@pytest.fixture
def odd_shapes(folder, small_images):
    """Images 50 to 89 of the LMDB are higher than the others."""
    images = np.pad(small_images[0][:40], ((0, 0), (0, 0), (0, 1), (0, 0)))
    write_lmdb(folder / "lmdb", [*small_images[0][:50], *images], [*small_images[1][:50], *small_images[1][:40]])


def test_shape_that_does_not_fit(folder, odd_shapes):
    fails(
        folder,
        r"LMDB .*'00000050': the image is 1x13x12 uint8 where the layer has 1x12x12 uint8; -resize would resize it",
        *TRAIN,
        master=CLUSTER,
    )


@pytest.mark.slow
def test_resize_makes_it_fit(folder, odd_shapes):
    status, lines, _ = submit(folder, *TRAIN, "-resize", master=CLUSTER)
    assert status == 0, lines


def test_net_that_caffe_refuses(folder):
    text = (folder / "net.prototxt").read_text().replace("kernel_size: 5", "kernel_size: 55")
    (folder / "net.prototxt").write_text(text)
    fails(folder, r"net.prototxt: layer '.*' \(.*\): Caffe refuses the net: Check failed: ", *TRAIN)


def test_model_place_that_cannot_be_written(folder):
    (folder / "file").write_text("")
    flags = [flag.replace("file:out.caffemodel", "file:file/out.caffemodel") for flag in TRAIN]
    fails(folder, r"the place of file:file/out.caffemodel cannot be written to", *flags)


def test_model_that_does_not_exist(folder):
    flags = ("-test", "-conf", "solver.prototxt", "-model", "file:nowhere.caffemodel")
    fails(folder, r"the model \(-model\) file:nowhere.caffemodel does not exist", *flags)


def test_console_script_says_the_same(folder):
    process = subprocess.run(
        ["python", "-m", "caffeonspark.cli", "-train", "-conf"], cwd=folder, capture_output=True, text=True
    )
    assert process.returncode == 1
    assert process.stderr == "caffeonspark: -conf needs a value (FILE)\n"


UNUSABLE = "the executors' Python does not work: {}.*--archives"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (
            ["spark.pyspark.python=/nowhere/python"],
            UNUSABLE.format('"/nowhere/python": error=2, No such file or directory'),
        ),
        (
            ["spark.executorEnv.PYTHONPATH={folder}/without"],
            r"rank \d of 2 on .*: the engine 'caffe' needs Caffe's Python module, .* imported here \(No module named",
        ),
        (["spark.pyspark.python=/usr/bin/python3"], UNUSABLE.format(".*Python in worker has different version")),
    ],
)
def test_executors_with_another_python(folder, settings, what):
    if "/usr/bin/python3" in settings[0]:
        code = "import sys; print(sys.version_info[:2] == (3, 9))"
        found = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False)
        if found.stdout.strip() != "False":
            pytest.skip("the host has no Python of another version at /usr/bin/python3")
    (folder / "without" / "caffe").mkdir(parents=True)
    (folder / "without" / "caffe" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'caffe'\")")
    installed = importlib.util.find_spec("caffe").submodule_search_locations[0]
    (folder / "without" / "caffe" / "proto").symlink_to(f"{installed}/proto")  # its messages are read as text
    conf = [setting.format(folder=folder) for setting in settings]
    conf.append(f"spark.pyspark.driver.python={sys.executable}")
    fails(folder, what, *TRAIN, conf=conf, master=CLUSTER)
