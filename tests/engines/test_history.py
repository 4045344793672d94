"""A solver's history, which pycaffe shows in snapshots' files alone: looked at and changed."""

import contextlib
import os

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.formats.solverstate import read_solverstate
from caffeonspark.nets.schema import NetParameter, SolverParameter
from tests.support import stock
from tests.support.training import EVERYTHING, RULES


@contextlib.contextmanager
def trainer_of(folder, settings, small_images):
    folder.mkdir()
    net = text_format.Parse(stock.input_net(10), NetParameter())
    trainer = CaffeTrainer(text_format.Parse(settings, SolverParameter()), net, [], 0, str(folder))
    feed = stock.batches(*small_images, 1, 0, 10)

    def load():
        trainer.inputs["data"][...], trainer.inputs["label"][...] = next(feed)

    with contextlib.closing(trainer):
        yield trainer, lambda: trainer.step(load, lambda loss: None)


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("rule", RULES)
def test_looking_at_it_changes_nothing(tmp_path, small_images, rule, form):
    settings = f"{RULES[rule]} {EVERYTHING} random_seed: 3 snapshot_format: {form}"
    found = []
    for looking in (False, True):
        with trainer_of(tmp_path / str(looking), settings, small_images) as (trainer, step):
            for _ in range(25):
                step()
                if looking:
                    trainer.change_history(lambda arrays: None)
            found.append([array.copy() for array in trainer.weights])
            assert trainer.iteration == 25
        assert os.listdir(tmp_path / str(looking)) == []
    for mine, theirs in zip(*found):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_what_is_written_counts(tmp_path, small_images, form):
    settings = f'{RULES["Adam"]} lr_policy: "fixed" random_seed: 3 snapshot_format: {form}'
    with trainer_of(tmp_path / "x", settings, small_images) as (trainer, step):
        step()
        before = [array.copy() for array in trainer.weights]
        seen = []

        def change(arrays):
            for number, array in enumerate(arrays):
                seen.append(array.shape)
                array[...] = number

        trainer.change_history(change)
        _, state = trainer.snapshot()
        assert [array.flat[0] for array in read_solverstate(state).history] == list(range(len(seen)))
        assert seen == [array.shape for array in trainer.weights] * 2
        for mine, theirs in zip(before, trainer.weights):
            np.testing.assert_array_equal(mine, theirs)
