"""Gradients that are summed up in Caffe's own blobs, in memory that the ranks' processes share."""

from tests.support import stock
from tests.support.mixed_ranks import on_kernels
from tests.support.training import RULES


def test_the_model_is_the_one_over_tcp(tmp_path):
    solver = f'{RULES["SGD"]} lr_policy: "fixed" clip_gradients: 3 random_seed: 3'
    models = set()
    for name in ("InSharedMemory", "OverTCP"):
        (tmp_path / name).mkdir()
        sync = f"tests.support.exchanging:{name}"
        found = on_kernels(tmp_path / name, ("Haswell", "Haswell"), solver, stock.LAYERS, 30, sync=sync)
        models |= {rank["model"] for rank in found}
    assert len(models) == 1
