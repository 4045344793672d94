"""CaffeOnSpark's tools for image captions: a vocabulary, and DataFrames of images with their captions as numbers.

Word 0 is the start and the end of a sentence, 1 what the vocabulary has not, and the words in it begin at 2. In a file
of a vocabulary the first line is word 1, as CaffeOnSpark's captioner takes it.
"""

from __future__ import annotations

import base64
import html
import re
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from ..causes import explained
from ..errors import ConfigError
from ..spark.library_zip import ship_library
from ..spark.session import session_of, storage_of
from ..storage import spark_path
from .display import HTML

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Conversions", "DFConversions", "Vocab", "get_image", "sentence2Words", "show_captions"]

_START_END, _UNKNOWN, _NO_WORD = 0, 1, -1
_UNKNOWN_WORD = "UNK"
_PIECES = re.compile(r"\w+|\W+", re.ASCII)


def sentence2Words(sentence: str) -> List[str]:
    """The words and the marks between them, in small letters; without the full stop at the end."""
    words = [piece.lower().strip() for piece in _PIECES.findall(sentence.strip()) if piece.strip()]
    return words[:-1] if words and words[-1] == "." else words


def sentence_numbers(sentence: str, numbers: Dict[str, int], length: int) -> Tuple[List[int], List[int], List[int]]:
    """A sentence as an LSTM is trained with it: the words that go in, whether each goes on, and the words to come.

    Each has ``length`` numbers, -1 behind the end; what does not fit is cut off.
    """
    words = [numbers.get(word, _UNKNOWN) for word in sentence2Words(sentence)[: length - 1]]
    rest = [_NO_WORD] * (length - 1 - len(words))
    return [_START_END, *words, *rest], [0, *([1] * len(words)), *rest], [*words, _START_END, *rest]


class Vocab:
    """The words of captions, the most frequent first.

    Parameters
    ----------
    sc : SparkContext or SparkSession
    """

    def __init__(self, sc: Any) -> None:
        self._spark = session_of(sc)
        self._words: List[str] = []

    @explained()
    def genFromData(self, dataset: DataFrame, columnName: str, vocabSize: int = -1) -> None:
        """Take the words of a column of sentences.

        Parameters
        ----------
        dataset : DataFrame
        columnName : of the sentences
        vocabSize : how many words, the most frequent ones, or those of them that come first in the alphabet; not
            positive for all
        """
        from pyspark.sql import functions as F

        ship_library(self._spark.sparkContext)
        words = F.udf(sentence2Words, "array<string>")(F.coalesce(F.col(columnName), F.lit("")))
        counted = dataset.select(F.explode(words).alias("word")).groupBy("word").count()
        ordered = counted.orderBy(F.desc("count"), "word")
        rows = (ordered.limit(vocabSize) if vocabSize > 0 else ordered).collect()
        self._words = [_UNKNOWN_WORD, *(row["word"] for row in rows)]

    @explained()
    def save(self, vocabFilePath: str) -> None:
        """Write the words as a folder with one text file, a word in each line. Raises ConfigError without words."""
        self._spark.sparkContext.parallelize(self._known(), 1).saveAsTextFile(self._path(vocabFilePath))

    @explained()
    def load(self, vocabFilePath: str) -> None:
        """Read the words from a folder that ``save`` wrote, or from a text file."""
        self._words = self._spark.sparkContext.textFile(self._path(vocabFilePath)).collect()

    def _path(self, path: str) -> str:
        return spark_path(storage_of(self._spark), path)

    def word2indexMap(self) -> Dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self._known(), _UNKNOWN)}

    def index2wordMap(self) -> Dict[int, str]:
        """The word of each number."""
        return dict(enumerate(self._known(), _UNKNOWN))

    def _known(self) -> List[str]:
        if not self._words:
            raise ConfigError("this Vocab has no words: call genFromData or load first")
        return self._words


class DFConversions:
    """Makes DataFrames of images and captions for CoSData layers.

    Parameters
    ----------
    sc : SparkContext or SparkSession
    """

    def __init__(self, sc: Any) -> None:
        self._spark = session_of(sc)

    @explained()
    def Coco2ImageCaptionFile(self, src: str, clusterSize: int) -> DataFrame:
        """The images and captions that a JSON file of COCO's lists.

        Columns ``id`` (of the caption), ``height``, ``width``, ``file``, ``url`` and ``caption``, a row for each
        caption; where there are no annotations, ``id`` is the image's, and there is no ``caption``.

        Parameters
        ----------
        src : path or URI
        clusterSize : partitions
        """
        from pyspark.sql import functions as F

        whole = self._spark.read.json(spark_path(storage_of(self._spark), src), multiLine=True)
        if "images" not in whole.columns:
            raise ConfigError(f"{src} has no 'images', so it is no file of COCO's; it has {', '.join(whole.columns)}")
        images = whole.select(F.explode("images").alias("image"))
        fields = images.select("image.*").columns
        captioned = "annotations" in whole.columns
        urls = [
            name for name in ("flickr_url" if captioned else "coco_url", "coco_url", "flickr_url") if name in fields
        ]
        columns = [
            F.col("image.id").cast("long").alias("id"),
            F.col("image.height").cast("int").alias("height"),
            F.col("image.width").cast("int").alias("width"),
            F.col("image.file_name").alias("file"),
            (F.col(f"image.{urls[0]}") if urls else F.lit(None).cast("string")).alias("url"),
        ]
        rows: DataFrame = images.select(*columns)
        if captioned:
            notes = whole.select(F.explode("annotations").alias("note")).select(
                F.col("note.image_id").cast("long").alias("image_id"),
                F.col("note.id").cast("long").alias("caption_id"),
                F.col("note.caption").alias("caption"),
            )
            rows = rows.join(notes, rows["id"] == notes["image_id"]).select(
                F.col("caption_id").alias("id"), "height", "width", "file", "url", "caption"
            )
        return rows.repartition(clusterSize)

    def Image2Embedding(self, imageRootFolder: str, imageCaptionDF: DataFrame) -> DataFrame:
        """The images of ``Coco2ImageCaptionFile``'s rows: ``id`` (string), ``data`` (a struct of ``height``, ``width``
        and ``image``, the file's bytes, which a top of type ENCODED_IMAGE_WITH_DIM takes) and ``label`` (0).

        Parameters
        ----------
        imageRootFolder : path or URI of the folder that the files' names are relative to
        imageCaptionDF : DataFrame with ``id``, ``file``, ``height`` and ``width``
        """
        return self._with_images(imageRootFolder, imageCaptionDF, [])

    def ImageCaption2Embedding(
        self, imageRootFolder: str, imageCaptionDF: DataFrame, vocab: Vocab, captionLength: int
    ) -> DataFrame:
        """``Image2Embedding``, and the captions as arrays of ``captionLength`` numbers: ``input_sentence``,
        ``cont_sentence`` and ``target_sentence``.

        Parameters
        ----------
        imageRootFolder, imageCaptionDF : see ``Image2Embedding``; with ``caption``
        vocab : Vocab
        captionLength : words, with the start or the end; what is longer is cut
        """
        from pyspark.sql import functions as F

        if captionLength < 1:
            raise ConfigError(f"captionLength must be at least 1, not {captionLength}")
        numbers = vocab.word2indexMap()
        ship_library(self._spark.sparkContext)
        kind = "struct<input_sentence:array<int>,cont_sentence:array<int>,target_sentence:array<int>>"
        made = F.udf(lambda caption: sentence_numbers(caption or "", numbers, captionLength), kind)
        rows = self._with_images(imageRootFolder, imageCaptionDF, [made("caption").alias("sentences")])
        return rows.select("id", "data", "label", "sentences.*")

    @explained()
    def _with_images(self, root: str, rows: DataFrame, more: Sequence[Any]) -> DataFrame:
        from pyspark.sql import functions as F

        storage = storage_of(self._spark)
        if not storage.is_folder(root):
            raise ConfigError(f"{root} is no folder: name the one that the images' files are in")
        base = storage.qualified(spark_path(storage, root)).rstrip("/")
        files = self._spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(base)
        named = rows.withColumn("path", F.concat(F.lit(base + "/"), F.col("file")))
        joined = named.join(files.select("path", "content"), "path", "left")
        missing = F.raise_error(F.concat(F.lit("the image file "), F.col("path"), F.lit(" does not exist")))
        image = F.when(F.col("content").isNull(), missing.cast("binary")).otherwise(F.col("content")).alias("image")
        data = F.struct(F.col("height").cast("int").alias("height"), F.col("width").cast("int").alias("width"), image)
        return joined.select(F.col("id").cast("string").alias("id"), data.alias("data"), F.lit(0).alias("label"), *more)

    @explained()
    def Embedding2Caption(
        self, embeddingDF: DataFrame, vocab: Vocab, embeddingColumn: str, captionColumn: str
    ) -> DataFrame:
        """The words of sentences of numbers: ``id`` and ``captionColumn``.

        Parameters
        ----------
        embeddingDF : DataFrame with ``id``
        vocab : Vocab
        embeddingColumn : of the numbers, such as ``input_sentence``
        captionColumn : the name of the new column
        """
        from pyspark.sql import functions as F

        words = vocab.index2wordMap()
        ship_library(self._spark.sparkContext)
        made = F.udf(lambda numbers: words_of(numbers or [], words), "string")
        return embeddingDF.select("id", made(embeddingColumn).alias(captionColumn))


#: The older name.
Conversions = DFConversions


def words_of(numbers: Sequence[int], words: Dict[int, str]) -> str:
    """The words of a sentence's numbers, with a space between them."""
    return " ".join(words.get(n, _UNKNOWN_WORD) for n in numbers if n not in (_START_END, _NO_WORD))


def get_image(image: Any) -> str:
    """An ``<img>`` with the content of an image file: bytes, or numbers from -128 to 255."""
    content = bytes(image) if isinstance(image, (bytes, bytearray)) else bytes(number & 255 for number in image)
    return f"<img src='data:image/png;base64,{base64.b64encode(content).decode()}' />"


@explained()
def show_captions(df: DataFrame, nrows: int = 10) -> HTML:
    """A table of images with the captions that were predicted, for a notebook to show.

    Parameters
    ----------
    df : with ``id``, ``data`` (a struct with ``image``, an image file's content) and ``prediction``
    nrows : how many, at most
    """
    lines = ["<table><tr><th>Image Id</th><th>Image</th><th>Prediction</th></tr>"]
    for row in df.take(nrows):
        cells = (html.escape(str(row["id"])), get_image(row["data"]["image"]), html.escape(str(row["prediction"])))
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return HTML("\n".join([*lines, "</table>"]))
