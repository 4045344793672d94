"""Values that layers index their memory by, followed through a net as stock Caffe moves them."""

import os
import tempfile

import numpy as np
import pytest
from google.protobuf import text_format

from caffeonspark import BadRecords, DataError, ImageTop, NumberTop, Records
from caffeonspark.data.records import BadRecordPolicy
from caffeonspark.data.tops import without_bad_values
from caffeonspark.data.transform import Transform
from caffeonspark.engines.caffe import CaffeEngine
from caffeonspark.engines.caffe.trainer import CaffeTrainer
from caffeonspark.nets.schema import NetParameter, SolverParameter
from caffeonspark.plans import indices
from caffeonspark.plans.indices import follow_indices
from tests.support import stock

BATCH = 4


def net_of(tops, layers, batch=BATCH):
    inputs = "".join(
        f'layer {{ name: "{top.name}" type: "Input" top: "{top.name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in top.blob_shape(batch))} }} }} }}\n"
        for top in tops
    )
    return text_format.Parse(inputs + layers, NetParameter())


def built(message):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.prototxt")
        with open(path, "w") as f:
            f.write(text_format.MessageToString(message))
        return stock.caffe.Net(path, stock.caffe.TRAIN)


def followed(tops, layers):
    """The limits of the tops, and the bottoms to check as they arrive, with the shapes of a net that Caffe built."""
    message = net_of(tops, layers)
    net = built(message)
    return follow_indices(message, {name: blob.data.shape for name, blob in net.blobs.items()}, tops)


def score(name, classes, bottom="data"):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        f"inner_product_param {{ num_output: {classes} }} }}\n"
    )


def loss(name, scores, label, kind="SoftmaxWithLoss", rest=""):
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{scores}" bottom: "{label}" top: "{name}" {rest} }}\n'


DATA = NumberTop("data", (3,))

MOVES = """
layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" top: "c"
  slice_param { axis: 1 slice_point: 1 slice_point: 4 } }
layer { name: "ss" type: "Slice" bottom: "b" top: "b0" top: "b1" top: "b2" }
layer { name: "cat" type: "Concat" bottom: "b2" bottom: "a" bottom: "b0" top: "cat" }
layer { name: "cat2" type: "Concat" bottom: "c" bottom: "c" top: "cat2" concat_param { axis: -1 } }
layer { name: "cat0" type: "Concat" bottom: "a" bottom: "b1" top: "cat0" concat_param { concat_dim: 0 } }
layer { name: "sp" type: "Split" bottom: "c" top: "sp0" top: "sp1" }
layer { name: "re" type: "Reshape" bottom: "sp0" top: "re" reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
layer { name: "fl" type: "Flatten" bottom: "re" top: "fl" flatten_param { axis: 1 } }
layer { name: "ti" type: "Tile" bottom: "sp1" top: "ti" tile_param { axis: 2 tiles: 3 } }
layer { name: "cr" type: "Crop" bottom: "x" bottom: "small" top: "cr" crop_param { axis: 2 offset: 1 offset: 2 } }
layer { name: "cr1" type: "Crop" bottom: "x" bottom: "small" top: "cr1" crop_param { offset: 1 } }
layer { name: "quiet" type: "Silence" bottom: "ti" }
"""


def test_values_are_moved_as_caffe_moves_them():
    """Each value is its own number: after a pass of stock Caffe every blob holds what was followed there."""
    x, small = NumberTop("x", (6, 4, 6)), NumberTop("small", (6, 2, 3))
    message = net_of([x, small], MOVES)
    net = built(message)
    shapes = {name: blob.data.shape for name, blob in net.blobs.items()}
    origins = indices._Origins([x, small], shapes)
    blobs = dict(origins.blobs)
    for name, numbers in blobs.items():
        net.blobs[name].data[...] = numbers
    net.forward()
    for layer in message.layer:
        if layer.type != "Input" and layer.top:
            blobs.update(zip(layer.top, indices._moved(layer, [blobs[name] for name in layer.bottom], shapes)))
    assert len(blobs) == 18
    for name, numbers in blobs.items():
        np.testing.assert_array_equal(net.blobs[name].data, numbers, err_msg=name)


def test_two_labels_in_one_top():
    top = NumberTop("y", (2,))
    layers = (
        'layer { name: "cut" type: "Slice" bottom: "y" top: "y1" top: "y2" }\n'
        + score("s1", 10)
        + score("s2", 5)
        + loss("l1", "s1", "y1")
        + loss("l2", "s2", "y2", rest="loss_param { ignore_label: 9 }")
    )
    limits, arriving = followed([DATA, top], layers)
    assert not arriving and list(limits) == ["y"]
    found = [(one.count, one.ignore, one.layer, one.where.tolist()) for one in limits["y"]]
    assert found == [(10, None, "l1", [0]), (5, 9, "l2", [1])]
    checked = NumberTop("y", (2,), limits=limits["y"])
    values = np.array([[9, 4], [10, 0], [0, 5], [0, 9], [-1, 0], [-0.5, 4.9], [np.nan, 0]], np.float32)
    records = Records([f"r{n}" for n in range(7)], [values], np.arange(7))
    bad = BadRecords("d", BadRecordPolicy(skip=True))
    assert without_bad_values([checked], records, bad).ids == ["r0", "r3", "r5"]  # as Caffe cuts fractions off
    assert bad.counts == {"label out of range": 3, "not finite": 1}
    assert "record 'r1': top 'y' holds 10 (value 1 of 2); layer 'l1' takes 0 to 9" in bad.examples[0]
    assert "record 'r2': top 'y' holds 5 (value 2 of 2); layer 'l2' takes 0 to 4, and 9" in bad.examples[1]
    with pytest.raises(DataError, match=r"d: record 'r1': top 'y' holds 10"):
        without_bad_values([checked], records, BadRecords("d"))


@pytest.mark.parametrize(
    "kind, rest, ignore",
    [
        ("SoftmaxWithLoss", "loss_param { ignore_label: 255 }", 255),
        ("Accuracy", "accuracy_param { ignore_label: 255 }", 255),
        ("InfogainLoss", 'loss_param { ignore_label: 255 } infogain_loss_param { source: "H" }', 255),
        # Caffe heeds no ignore_label in these two
        ("MultinomialLogisticLoss", "loss_param { ignore_label: 255 }", None),
        ("HingeLoss", "loss_param { ignore_label: 255 }", None),
    ],
)
def test_ignore_label_where_caffe_respects_it(kind, rest, ignore):
    message = net_of([DATA, NumberTop("label", ())], score("s", 7) + loss("l", "s", "label", kind, rest))
    shapes = {"data": (BATCH, 3), "label": (BATCH,), "s": (BATCH, 7)}
    limits, arriving = follow_indices(message, shapes, [DATA, NumberTop("label", ())])
    (found,) = limits["label"]
    assert (found.count, found.ignore, found.where, arriving) == (7, ignore, None, ())


def test_classes_along_another_axis_and_ids():
    top, ids = NumberTop("label", (1, 2, 2)), NumberTop("ids", (5,), time_major=True)
    layers = (
        'layer { name: "map" type: "Convolution" bottom: "image" top: "map" '
        "convolution_param { num_output: 3 kernel_size: 1 } }\n"
        + loss("l", "map", "label")
        + 'layer { name: "e" type: "Embed" bottom: "ids" top: "e" embed_param { input_dim: 5 num_output: 2 } }\n'
    )
    limits, arriving = followed([NumberTop("image", (2, 2, 2)), top, ids], layers)
    assert not arriving
    assert [(one.count, one.where) for one in limits["label"]] == [(3, None)]
    assert [(one.count, one.what, one.where) for one in limits["ids"]] == [(5, "id", None)]


@pytest.mark.parametrize(
    "between",
    [
        'layer { name: "p" type: "Power" bottom: "label" top: "p" power_param { shift: -1 } }\n',
        'layer { name: "p" type: "Power" bottom: "label" top: "label" power_param { shift: -1 } }\n'
        'layer { name: "q" type: "Split" bottom: "label" top: "p" }\n',
        # some samples of a batch only
        'layer { name: "p" type: "Slice" bottom: "label" top: "p" top: "q" slice_param { axis: 0 } }\n'
        'layer { name: "r" type: "Concat" bottom: "p" bottom: "p" top: "pp" concat_param { axis: 0 } }\n',
    ],
)
def test_what_cannot_be_followed_is_checked_as_it_arrives(between):
    name = "pp" if '"pp"' in between else "p"
    limits, arriving = followed([DATA, NumberTop("label", ())], between + score("s", 4) + loss("l", "s", name))
    assert not limits
    assert [(one.bottom, one.blob, one.takes.count) for one in arriving] == [(1, name, 4)]


def test_a_rewritten_label_beside_one_that_is_followed():
    between = 'layer { name: "p" type: "Power" bottom: "y" top: "p" power_param { scale: 2 } }\n'
    layers = between + score("s", 4) + loss("l", "s", "y") + score("t", 9) + loss("m", "t", "p")
    limits, arriving = followed([DATA, NumberTop("y", ())], layers)
    assert [one.layer for one in limits["y"]] == ["l"]
    assert [one.takes.layer for one in arriving] == ["m"]


# ---- what the engine does about the latter

EMBED = """
layer { name: "p" type: "Power" bottom: "ids" top: "p" power_param { shift: -1 } }
layer { name: "e" type: "Embed" bottom: "p" top: "e" embed_param { input_dim: 5 num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "l" type: "EuclideanLoss" bottom: "e" bottom: "y" top: "l" }
layer { name: "again" type: "Embed" bottom: "p" top: "e2" embed_param { input_dim: 5 num_output: 1
  weight_filler { type: "xavier" } } }
layer { name: "quiet" type: "Silence" bottom: "e2" }
"""
TOPS = [NumberTop("ids", ()), NumberTop("y", (2,))]


def trained(folder, check, ids):
    message = net_of(TOPS, EMBED)
    solver = text_format.Parse('base_lr: 0.1 lr_policy: "fixed" random_seed: 3', SolverParameter())
    trainer = CaffeTrainer(solver, message, [message], 0, str(folder))
    limits, arriving = followed(TOPS, EMBED)
    assert not limits and [one.takes.layer for one in arriving] == ["e", "again"]
    if check:
        trainer.check_indices(arriving)

    def load():
        trainer.inputs["ids"][...] = ids
        trainer.inputs["y"][...] = 1

    return trainer, arriving, lambda: trainer.step(load, lambda loss: None)


def test_the_engine_checks_before_the_layer_runs(tmp_path):
    weights = []
    for check in (False, True):
        trainer, arriving, step = trained(tmp_path, check, [1, 2, 5, 1])
        for _ in range(5):
            step()
        weights.append([array.copy() for array in trainer.weights])
    for mine, theirs in zip(*weights):
        np.testing.assert_array_equal(mine, theirs)
    trainer, arriving, step = trained(tmp_path, True, [1, 2, 5001, 1])
    match = r"bottom 'p' holds 5000 \(value 3 of the batch's 4\); layer 'e' takes 0 to 4"
    with pytest.raises(DataError, match=match):
        step()
    net = trainer.test_net(0)
    net.check_indices(arriving)
    net.blobs["ids"][...] = [1, 0, 1, 1]
    with pytest.raises(DataError, match=r"bottom 'p' holds -1 \(value 2 of"):
        net.forward()
    net.blobs["ids"][...] = 5
    net.forward()


def test_batch_reindex_takes_rows_of_the_batch_there_is(tmp_path):
    layers = 'layer { name: "b" type: "BatchReindex" bottom: "data" bottom: "rows" top: "b" }\n'
    tops = [DATA, NumberTop("rows", ())]
    limits, arriving = followed(tops, layers)
    assert [one.count for one in limits["rows"]] == [4] and arriving[0].of_batch
    weights = tmp_path / "none.caffemodel"
    weights.write_bytes(b"")
    net = CaffeEngine().predictor(net_of(tops, layers), str(weights))
    net.check_indices(arriving)
    net.reshape({"data": (2, 3), "rows": (2,)})
    net.blobs["rows"][...] = [1, 2]
    with pytest.raises(DataError, match=r"bottom 'rows' holds 2 \(value 2 of the batch's 2\); layer 'b' takes 0 to 1"):
        net.forward()


# ---- labels in images


def test_label_maps_of_raw_bytes_are_checked_as_they_arrive():
    """Scaled and mirrored: what the layer gets decides."""
    limits = followed([NumberTop("scores", (3, 1, 2)), NumberTop("m", (1, 1, 2))], loss("l", "scores", "m"))[0]["m"]
    top = NumberTop("m", (1, 1, 2), dtype="uint8", transform=Transform(scale=0.5, mirror=True), limits=limits)
    values = np.array([[[[0, 5]]], [[[6, 0]]]], np.uint8)
    found = list(top.problems(["a", "b"], values))
    assert [row for row, _ in found] == [1]
    assert "top 'm' holds 3 (value 1 of 2); layer 'l' takes 0 to 2" in found[0][1].message


def test_label_maps_as_image_files(tmp_path):
    import io

    from PIL import Image

    from caffeonspark import ENCODED, BadRecord, pack_image

    limits = followed([NumberTop("scores", (3, 2, 2)), NumberTop("m", (1, 2, 2))], loss("l", "scores", "m"))[0]["m"]

    def entry(pixels):
        out = io.BytesIO()
        Image.fromarray(np.array(pixels, np.uint8)).save(out, "PNG")
        return pack_image(ENCODED, (0, 0, 0), out.getvalue())

    border = entry([[0, 1, 2, 7]] + 3 * [[2, 1, 0, 1]])  # only a random crop gets there
    centre = entry([[0, 1, 2, 1], [0, 7, 1, 1]] + 2 * [[2, 1, 0, 1]])
    out = np.empty((1, 1, 2, 2), np.float32)
    for train, wrong in ((False, [centre]), (True, [border, centre])):
        top = ImageTop("m", (1, 2, 2), transform=Transform(crop=2, train=train), channels=1, limits=limits)
        for image in (border, centre):
            if image in wrong:
                with pytest.raises(BadRecord, match=r"top 'm' holds 7 .* layer 'l' takes 0 to 2"):
                    top.check(image)
            else:
                top.check(image)
        with pytest.raises(BadRecord, match=r"top 'm' holds 7 \(value 1 of 4\)") as raised:
            top.fill([entry([[1, 1, 1, 1]] * 4), centre], np.repeat(out, 2, 0), np.full((2, 3), 0.5))
        assert raised.value.row == 1
