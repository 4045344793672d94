"""CaffeOnSpark's tools for image captions, as its notebook calls them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from caffeonspark import CaffeOnSpark, Config, ConfigError, DataSource
from caffeonspark.compat import DFConversions, Vocab, get_image, show_captions
from caffeonspark.compat.captions import sentence2Words, sentence_numbers, words_of

CAPTIONS = [
    "A dog sits on the mat.",
    "The dog, a big one, sleeps!",
    "A cat on a mat .",
    "Ein Käfer  fliegt",
]
NUMBERS = {"UNK": 1, "a": 2, "dog": 3, "cat": 4, "on": 5}


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (CAPTIONS[0], ["a", "dog", "sits", "on", "the", "mat"]),
        (CAPTIONS[1], ["the", "dog", ",", "a", "big", "one", ",", "sleeps", "!"]),
        (CAPTIONS[2], ["a", "cat", "on", "a", "mat"]),
        ("It's 2_3 o'clock...", ["it", "'", "s", "2_3", "o", "'", "clock", "..."]),
        (CAPTIONS[3], ["ein", "k", "ä", "fer", "fliegt"]),
        (" . ", []),
        ("", []),
    ],
)
def test_words(sentence, words):
    assert sentence2Words(sentence) == words


@pytest.mark.parametrize(
    ("length", "numbers"),
    [
        (8, ([0, 2, 4, 5, 2, 1, -1, -1], [0, 1, 1, 1, 1, 1, -1, -1], [2, 4, 5, 2, 1, 0, -1, -1])),
        (6, ([0, 2, 4, 5, 2, 1], [0, 1, 1, 1, 1, 1], [2, 4, 5, 2, 1, 0])),
        (3, ([0, 2, 4], [0, 1, 1], [2, 4, 0])),
        (1, ([0], [0], [0])),
    ],
)
def test_sentences_as_numbers(length, numbers):
    assert sentence_numbers(CAPTIONS[2], NUMBERS, length) == numbers


def test_words_of_numbers():
    words = {number: word for word, number in NUMBERS.items()}
    assert words_of([0, 2, 4, 5, 2, 1, -1, -1], words) == "a cat on a UNK"
    assert words_of([2, 99, 0], words) == "a UNK" and words_of([0, -1], words) == ""


class Frame:
    def take(self, count):
        return [{"id": "<1>", "data": {"image": b"\xff\xd8"}, "prediction": "a & b"}][:count]


def test_captions_are_shown():
    assert get_image(b"\xff\xd8") == get_image(bytearray(b"\xff\xd8")) == get_image([-1, 216])
    shown = show_captions(Frame())
    assert shown._repr_html_() == shown and shown.count("<tr>") == 2
    picture = get_image(b"\xff\xd8")
    assert f"<td>&lt;1&gt;</td><td>{picture}</td><td>a &amp; b</td>" in shown


# ---- with Spark


def coco(folder, with_captions=True):
    """A JSON file as COCO's, and its two images."""
    rng, images = np.random.default_rng(2), []
    (folder / "images").mkdir(exist_ok=True)
    for number in (7, 8):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)).save(out, "JPEG")
        (folder / "images" / f"a b{number}.jpg").write_bytes(out.getvalue())
        image = {"id": number, "height": 10, "width": 12, "file_name": f"a b{number}.jpg", "license": 3}
        images.append({**image, "coco_url": f"http://c/{number}", "flickr_url": f"http://f/{number}"})
    notes = [{"image_id": 7 + n % 2, "id": 100 + n, "caption": text} for n, text in enumerate(CAPTIONS[:3])]
    whole = {"info": {}, "images": images, **({"annotations": notes} if with_captions else {})}
    (folder / "captions.json").write_text(json.dumps(whole, indent=1))
    return f"file:{folder}/captions.json"


LAYER = """layer { name: "data" type: "CoSData" top: "data" top: "label" top: "input_sentence" top: "target_sentence"
  source_class: "com.yahoo.ml.caffe.DataFrameSource" cos_data_param { source: "file:%s" batch_size: 3
    top { name: "data" type: ENCODED_IMAGE_WITH_DIM channels: 3 height: 10 width: 12 }
    top { name: "label" type: INT channels: 1 sample_num_axes: 0 }
    top { name: "input_sentence" type: INT_ARRAY channels: 6 sample_num_axes: 1 transpose: true }
    top { name: "target_sentence" type: INT_ARRAY channels: 6 sample_num_axes: 1 transpose: true } } }
layer { name: "silence" type: "Silence" bottom: "label" bottom: "target_sentence" bottom: "input_sentence" }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 1 } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }
"""


@pytest.mark.long
def test_the_notebooks_steps(spark, tmp_path):
    sc = spark.sparkContext
    conv, vocab = DFConversions(sc), Vocab(sc)
    captions = conv.Coco2ImageCaptionFile(coco(tmp_path), 2)
    assert captions.columns == ["id", "height", "width", "file", "url", "caption"]
    assert sorted(captions.collect())[1] == (101, 10, 12, "a b8.jpg", "http://f/8", CAPTIONS[1])
    assert captions.rdd.getNumPartitions() == 2
    with pytest.raises(ConfigError, match="this Vocab has no words: call genFromData or load first"):
        vocab.word2indexMap()
    vocab.genFromData(captions, "caption", 6)
    assert vocab.index2wordMap() == dict(enumerate(["UNK", "a", ",", "dog", "mat", "on", "the"], 1))
    vocab.save(f"{tmp_path}/vocab")
    (part,) = (tmp_path / "vocab").glob("part*")
    assert part.read_text().split() == list(vocab.word2indexMap())
    again = Vocab(spark)
    again.load(f"file:{tmp_path}/vocab")
    assert again.word2indexMap() == vocab.word2indexMap()
    again.genFromData(captions, "caption", -1)
    assert len(again.word2indexMap()) == 13

    embedded = conv.ImageCaption2Embedding(f"{tmp_path}/images", captions, vocab, 6)
    rows = {row.id: row for row in embedded.collect()}
    assert sorted(rows) == ["100", "101", "102"] and embedded.columns[2:5] == [
        "label",
        "input_sentence",
        "cont_sentence",
    ]
    assert rows["102"].input_sentence == [0, 2, 1, 6, 2, 5] and rows["102"].target_sentence == [2, 1, 6, 2, 5, 0]
    assert rows["102"].data == (10, 12, bytearray((tmp_path / "images" / "a b7.jpg").read_bytes()))
    back = conv.Embedding2Caption(embedded, vocab, "target_sentence", "words").collect()
    assert {row.id: row.words for row in back}["102"] == "a UNK on a mat"

    embedded.write.parquet(f"{tmp_path}/frame")
    (tmp_path / "net.prototxt").write_text(LAYER % f"{tmp_path}/frame")
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 1e-9 lr_policy: "fixed" max_iter: 1')
    config = Config(sc, conf=f"{tmp_path}/solver.prototxt", model=f"file:{tmp_path}/m", resize=True, quiet=True)
    assert CaffeOnSpark(sc).train(DataSource(sc).getSource(config, True)).iteration == 1

    images = conv.Coco2ImageCaptionFile(coco(tmp_path, with_captions=False), 1)
    assert sorted(images.collect())[0] == (7, 10, 12, "a b7.jpg", "http://c/7")
    assert conv.Image2Embedding(f"file:{tmp_path}/images", images).columns == ["id", "data", "label"]
    (tmp_path / "images" / "a b8.jpg").unlink()
    with pytest.raises(Exception, match=rf"the image file file:{tmp_path}/images/a b8.jpg does not exist"):
        conv.Image2Embedding(f"file:{tmp_path}/images", images).collect()
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        conv.Image2Embedding(f"file:{tmp_path}/nowhere", images)
    with pytest.raises(ConfigError, match="has no 'images', so it is no file of COCO's; it has a"):
        (tmp_path / "other.json").write_text('{"a": 1}')
        conv.Coco2ImageCaptionFile(f"{tmp_path}/other.json", 1)


def test_what_spark_raises_is_told_in_a_line(spark, tmp_path):
    vocab = Vocab(spark)
    with pytest.raises(ConfigError, match=r"^IOException: Input path does not exist: file:/.*/nowhere$"):
        vocab.load(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"^\[UNRESOLVED_COLUMN.*`caption`[^\n]*$"):
        vocab.genFromData(spark.range(3), "caption")
