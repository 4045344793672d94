"""Pieces of prototxt that several tests use, and rows for them."""

from tests.support import stock

PHASES = "include { phase: TRAIN } include { phase: TEST }"
SCALE = f"transform_param {{ scale: {stock.SCALE} }}"
SOLVER = (
    'net: "net.prototxt" type: "SGD" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" random_seed: 3 '
    "max_iter: {iterations}"
)
ONE_ITERATION = 'net: "net.prototxt" max_iter: 1'
COS_LAYER = """
layer {{ name: "data" type: "CoSData" top: "data" top: "label" include {{ phase: TRAIN }} include {{ phase: TEST }}
  source_class: "com.yahoo.ml.caffe.DataFrameSource"
  cos_data_param {{ batch_size: {batch} source: "{source}"
    top {{ name: "data" type: RAW_IMAGE channels: 1 height: 12 width: 12 transform_param {{ scale: {scale} }} }}
    top {{ name: "label" type: INT channels: 1 sample_num_axes: 0 }} }} }}
"""
ESTIMATOR_SOLVER = 'net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" max_iter: 60 random_seed: 1'


def rows_of(images, labels):
    return [
        (f"id{number}", image.transpose(1, 2, 0).tobytes(), int(label))
        for number, (image, label) in enumerate(zip(images, labels))
    ]
