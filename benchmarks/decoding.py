"""Does decoding keep ahead of the solver? A folder of 10,000 small JPEGs -> DataFrame -> cifar10_quick, one rank."""

from __future__ import annotations

import io
import re
import shutil
import statistics
from typing import List

import numpy as np

from .common import BUILD, ROOT, alternate, rounds, session, shorter
from .results import Result

IMAGES, CLASSES, ITERATIONS, SKIPPED, ROUNDS = 10_000, 10, shorter(120, 50), 20, rounds(3)
HELPERS = (0, 1, 2)


def prepare(spark) -> str:
    """The folder, the DataFrame and cifar10_quick's prototxts; the solver's path."""
    from caffeonspark import Config, run_tool

    frame = BUILD / "jpegs_dataframe"
    if not frame.exists():
        folder = BUILD / "jpegs"
        write_jpegs(folder)
        run_tool("ImageFolder2DataFrame", Config(spark), {"imageRoot": folder, "output": frame})
        shutil.rmtree(folder)
    net = (ROOT / "prototxt" / "cifar10_quick_train_test.prototxt").read_text()
    layers = net[net.index("layer {", net.rindex("data_param")) :]
    data = (
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" source_class: "ImageDataFrame" '
        f'transform_param {{ mean_value: 120 }} memory_data_param {{ source: "file:{frame}" '
        "batch_size: 100 channels: 3 height: 32 width: 32 } }\n"
    )
    (BUILD / "decoding.prototxt").write_text(data + layers)
    solver = (ROOT / "prototxt" / "cifar10_quick_solver.prototxt").read_text()
    kept = [line for line in solver.splitlines() if not re.match(r"(net|test_|max_iter|snapshot|display)", line)]
    settings = f'net: "{BUILD}/decoding.prototxt" max_iter: {ITERATIONS} snapshot_after_train: false random_seed: 1\n'
    (BUILD / "decoding_solver.prototxt").write_text(settings + "\n".join(kept) + "\n")
    return str(BUILD / "decoding_solver.prototxt")


def write_jpegs(folder) -> None:
    """Images of 32x32 with the kind of detail photographs have, in a folder for each class."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
        out = io.BytesIO()
        small.resize((32, 32), Image.BICUBIC).save(out, "JPEG", quality=90)
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(out.getvalue())


def share(spark, solver: str, helpers: int, times) -> float:
    """The part of an iteration's time that goes into waiting for its batch, in per cent."""
    from caffeonspark import CaffeOnSpark, Config, DataSource

    config = Config(spark, conf=solver, model=f"file:{BUILD}/decoding.caffemodel", decoders=helpers, quiet=True)
    paces = CaffeOnSpark(spark).train(DataSource(spark).getSource(config, True)).timings[0]
    first = next(pace for pace in paces if pace.iteration >= SKIPPED)
    last = paces[-1]
    times[helpers].append((last.training - first.training) / (last.iteration - first.iteration) * 1000)
    return (last.loading - first.loading) / (last.training - first.training) * 100


def run() -> List[Result]:
    spark = session("local-cluster[1,1,1024]")
    solver = prepare(spark)
    times = {helpers: [] for helpers in HELPERS}
    runs = {f"{n} helpers": (lambda n=n: share(spark, solver, n, times)) for n in HELPERS}
    found = alternate(runs, ROUNDS)
    spark.stop()
    rows = []
    for helpers, name in zip(HELPERS, found):
        who = "the rank itself" if helpers == 0 else f"{helpers} helper process{'es' if helpers > 1 else ''}"
        rows.append((who, (statistics.median(times[helpers]), statistics.median(found[name]))))
    about = f"10,000 JPEGs of 32x32, cifar10_quick, batch 100, one BLAS thread, {ROUNDS} rounds"
    columns = ("ms an iteration", "% of it waiting for the batch")
    return [Result("decoding", "Decoding", about, columns, tuple(rows))]
