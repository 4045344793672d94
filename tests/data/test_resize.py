"""Images are resized as stock Caffe's OpenCV does it."""

import numpy as np
import pytest
from PIL import Image

from caffeonspark.data.decode import resize
from tests.support import stock

SIZES = [((12, 12), (8, 8)), ((7, 9), (16, 5)), ((12, 12), (6, 6)), ((50, 31), (17, 64)), ((1, 3), (4, 4))]
SIZES += [((240, 320), (227, 227)), ((33, 33), (256, 256)), ((9, 9), (9, 1)), ((64, 100), (32, 25))]


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_as_opencv_to_the_bit(tmp_path, old, new, grey):
    pixels = np.random.default_rng(5).integers(0, 256, (*old, 1 if grey else 3), dtype=np.uint8)
    Image.fromarray(pixels[:, :, 0] if grey else pixels[:, :, ::-1]).save(tmp_path / "a.png")
    (tmp_path / "list").write_text(f"{tmp_path}/a.png 0\n")
    (tmp_path / "net").write_text(
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { batch_size: 1 '
        f'source: "{tmp_path}/list" new_height: {new[0]} new_width: {new[1]} is_color: {str(not grey).lower()} }} }}'
    )
    net = stock.caffe.Net(str(tmp_path / "net"), stock.caffe.TEST)
    net.forward()
    ours = resize(np.ascontiguousarray(pixels.transpose(2, 0, 1)), new)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, net.blobs["data"].data[0])
