"""What saving checks before it writes or deletes, without Spark: the real one is in test_classification.py."""

import json
import os
import shutil
import types

import pytest
from pyspark.ml.util import BaseReadWrite, DefaultParamsWriter, MLWriter

from caffeonspark import (
    CaffeClassificationModel,
    CaffeClassifier,
    CaffeModel,
    ConfigError,
    DataError,
    StorageError,
    nets,
)
from caffeonspark.ml import persistence
from tests.ml.test_local import small


@pytest.fixture
def local(monkeypatch):
    """Saving on the local disk, with Spark's metadata written as Spark has it."""
    context = types.SimpleNamespace(version="3.5.0")

    def save_metadata(instance, path, sc, extraMetadata=None, paramMap=None):  # noqa: N803
        os.makedirs(os.path.join(path, "metadata"))
        with open(os.path.join(path, "metadata", "part-00000"), "w") as f:
            f.write(DefaultParamsWriter._get_metadata_to_save(instance, context, extraMetadata, paramMap))

    monkeypatch.setattr(persistence, "session_of", lambda session: None)
    monkeypatch.setattr(BaseReadWrite, "sparkSession", None)
    monkeypatch.setattr(BaseReadWrite, "sc", context)
    monkeypatch.setattr(DefaultParamsWriter, "saveMetadata", save_metadata)
    monkeypatch.setattr(MLWriter, "_handleOverwrite", lambda self, path: shutil.rmtree(path))


def test_a_model_is_replaced_when_asked(local, tmp_path):
    model, *_ = small(tmp_path, (2, 4))
    folder = tmp_path / "saved"
    model.save(folder)
    with pytest.raises(ConfigError, match=r"saved exists already: write\(\)\.overwrite\(\)\.save"):
        model.save(str(folder))
    with pytest.raises(ConfigError, match="holds no net"):
        CaffeClassificationModel().write().overwrite().save(str(folder))
    assert CaffeModel.loadLocal(folder).uid == model.uid
    other = model.copy()
    other._resetUid("other")
    other.write().overwrite().save(folder)
    assert CaffeModel.loadLocal(folder).uid == "other"


def test_an_estimator_is_replaced_by_one_that_can_be_saved(local, tmp_path):
    folder = tmp_path / "saved"
    model, *_ = small(tmp_path, (2, 4))
    estimator = CaffeClassifier(net=nets.mlp(layers=[4, 3]), initialModel=model, solverOverrides={"stepvalue": [5]})
    estimator.save(folder)
    written = json.loads((folder / "metadata" / "part-00000").read_text())
    assert written["paramMap"].keys() == {"net", "solverOverrides"} and written["initialModel"]
    assert CaffeModel.loadLocal(folder / "initialModel").uid == model.uid
    for gone in (
        CaffeClassifier(net="gone.prototxt"),
        CaffeClassifier(net=nets.mlp(layers=[4, 3]), initialModel=CaffeModel()),
    ):
        with pytest.raises(ConfigError, match=r"gone\.prototxt|holds no net"):
            gone.write().overwrite().save(folder)
    assert (folder / "initialModel" / "net.prototxt").exists()


def test_what_was_saved_in_part_is_no_model(local, tmp_path, monkeypatch):
    """Whoever was killed while he saved leaves what nobody takes for a model."""
    model, *_ = small(tmp_path, (2, 4))
    folder = tmp_path / "saved"

    def full(storage, uri, content):
        raise StorageError(f"{uri}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(persistence, "write_model", full)
        with pytest.raises(StorageError, match="No space"):
            model.save(folder)
    assert (folder / "net.prototxt").exists()
    with pytest.raises(ConfigError, match="is no saved model: there is no metadata"):
        CaffeModel.loadLocal(folder)
    model.write().overwrite().save(folder)
    assert CaffeModel.loadLocal(folder).uid == model.uid


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"netPath": None}, "(no 'netPath')"),
        ({"paramMap": [1]}, "'list' object"),
    ],
)
def test_damaged_metadata_is_told_in_a_line(local, tmp_path, change, line):
    model, *_ = small(tmp_path, (2, 4))
    folder = tmp_path / "saved"
    model.save(folder)
    part = folder / "metadata" / "part-00000"
    found = {**json.loads(part.read_text()), **change}
    part.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))
    with pytest.raises(DataError) as e:
        CaffeModel.loadLocal(folder)
    assert e.value.message.startswith(f"{folder} is damaged: its metadata is not what save wrote (")
    assert line in e.value.message and "\n" not in e.value.message
