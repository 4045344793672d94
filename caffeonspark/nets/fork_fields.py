"""What to use instead of data layers that are not read here, and of fields that forks of Caffe gave to their layers."""

from __future__ import annotations

__all__ = ["advice", "instead_of_layer"]

_RESIZE = "images are resized by -resize, by an ImageData layer's new_height and new_width, or where the data is made"
_RANDOM = "make such variants of the images where the data is made, or decode them in a source_class of your own"
_CROP = "crop_size crops squares; other crops are made where the data is made"
_ADVICE = {
    **dict.fromkeys(("resize_param", "resize", "new_size", "min_side", "new_height", "new_width"), _RESIZE),
    **dict.fromkeys(("min_side_min", "min_side_max", "img_rand_resize_lower", "img_rand_resize_upper"), _RANDOM),
    **dict.fromkeys(("distort_param", "expand_param", "noise_param", "max_rotation_angle", "contrast"), _RANDOM),
    **dict.fromkeys(("rotate", "max_color_shift", "multi_scale", "multi_crop", "brightness"), _RANDOM),
    **dict.fromkeys(("crop_h", "crop_w", "crop_height", "crop_width", "crop_size_h", "crop_size_w"), _CROP),
    "emit_constraint": "boxes are no labels of these layers: give them as columns of a CoSData layer",
    "shuffle": "-shuffle gives each epoch an order of its own",
    "is_color": "force_color and force_gray of transform_param say what encoded images become",
    "mean_file_list": "mean_file names one file",
    "hole": "dilation is stock Caffe's name for it, with the same number",
    "hole_h": "dilation is stock Caffe's name for it: give it twice, for height and width",
    "hole_w": "dilation is stock Caffe's name for it: give it twice, for height and width",
    "std_value": "scale is one number for all channels; a Scale layer has one for each",
}


def advice(field: str) -> str:
    """What to use instead of a field, "" where nothing is known of it."""
    return _ADVICE.get(field, "")


_ROWS = "CoSData over a DataFrame with a row for each sample, or a layer of type Python"
_LAYERS = {
    "WindowData": f"Cut the windows out where the data is made, and use {_ROWS}",
    "AnnotatedData": f"Use {_ROWS}, with boxes and labels in columns of their own",
    "VideoData": f"Cut the clips where the data is made, and use {_ROWS}",
    "ImageLabelData": "Use two Data or ImageData layers, one for images and one for label maps",
    "DenseImageData": "Use two Data or ImageData layers, one for images and one for label maps",
    "ImageSegData": "Use two Data or ImageData layers, one for images and one for label maps",
    "MultiLabelImageData": "Use CoSData over a DataFrame with the labels in an array, or HDF5Data",
}


def instead_of_layer(kind: str) -> str:
    """What to use instead of data layers of a type, "" where nothing is known of it."""
    return _LAYERS.get(kind, "")
