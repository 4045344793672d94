"""What saving checks before it writes or deletes, without Spark: the real one is in test_classification.py."""

import json
import os
import shutil
import types

import pytest
from pyspark.ml.util import BaseReadWrite, DefaultParamsWriter, MLWriter

from caffeonspark import CaffeClassificationModel, CaffeClassifier, CaffeModel, ConfigError, nets
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
