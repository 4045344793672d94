"""Caffe's protobuf messages together with CaffeOnSpark's extension fields.

The schema is derived at run time from the ``caffe_pb2`` of the installed Caffe, in a descriptor pool of its
own: two copies of the ``caffe`` package in one pool conflict, and a Caffe fork's own layers (SSD, R-FCN)
come along by themselves. Field numbers of the extensions are those of yahoo/caffe's ``caffe.proto``, so
binary files written by CaffeOnSpark parse too.

Message classes are made at run time, which type checkers cannot follow: they are ``Any`` here.
"""

from __future__ import annotations

import warnings
from typing import Any, List, Optional, Tuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["BlobProto", "Datum", "LayerParameter", "NetParameter", "SolverParameter", "SolverState", "field_names"]

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BOOL, _UINT32 = _Field.TYPE_STRING, _Field.TYPE_BOOL, _Field.TYPE_UINT32
_ENUM, _MESSAGE = _Field.TYPE_ENUM, _Field.TYPE_MESSAGE
_OPTIONAL, _REPEATED = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED

# (name, number, type, label, type name, default)
_FieldSpec = Tuple[str, int, int, int, Optional[str], Optional[str]]

_LAYER_FIELDS: List[_FieldSpec] = [
    ("source_class", 10001, _STRING, _OPTIONAL, None, None),
    ("cos_data_param", 10010, _MESSAGE, _OPTIONAL, ".caffe.CoSDataParameter", None),
]
_MEMORY_DATA_FIELDS: List[_FieldSpec] = [
    ("share_in_parallel", 10000, _BOOL, _OPTIONAL, None, "true"),
    ("source", 10001, _STRING, _OPTIONAL, None, None),
    ("dataframe_column_select", 10002, _STRING, _REPEATED, None, None),
    ("image_encoded", 10003, _BOOL, _OPTIONAL, None, "false"),
    ("dataframe_format", 10004, _STRING, _OPTIONAL, None, "parquet"),
]
_COS_DATA_FIELDS: List[_FieldSpec] = [
    ("source", 1, _STRING, _OPTIONAL, None, None),
    ("batch_size", 2, _UINT32, _OPTIONAL, None, None),
    ("shuffle", 3, _BOOL, _OPTIONAL, None, "false"),
    ("dataframe_format", 4, _STRING, _OPTIONAL, None, "parquet"),
    ("top", 5, _MESSAGE, _REPEATED, ".caffe.CoSDataParameter.TopBlob", None),
]
_TOP_BLOB_FIELDS: List[_FieldSpec] = [
    ("name", 1, _STRING, _OPTIONAL, None, None),
    ("type", 2, _ENUM, _OPTIONAL, ".caffe.CoSDataParameter.DataType", None),
    ("channels", 3, _UINT32, _OPTIONAL, None, "0"),
    ("height", 4, _UINT32, _OPTIONAL, None, "0"),
    ("width", 5, _UINT32, _OPTIONAL, None, "0"),
    ("sample_num_axes", 6, _UINT32, _OPTIONAL, None, "3"),
    ("transform_param", 7, _MESSAGE, _OPTIONAL, ".caffe.TransformationParameter", None),
    ("out_channels", 8, _UINT32, _OPTIONAL, None, "0"),
    ("out_height", 9, _UINT32, _OPTIONAL, None, "0"),
    ("out_width", 10, _UINT32, _OPTIONAL, None, "0"),
    ("transpose", 11, _BOOL, _OPTIONAL, None, "false"),
]
_DATA_TYPES = (
    "STRING",
    "INT",
    "FLOAT",
    "INT_ARRAY",
    "FLOAT_ARRAY",
    "ENCODED_IMAGE",
    "RAW_IMAGE",
    "ENCODED_IMAGE_WITH_DIM",
)


def _add_fields(message: Any, fields: List[_FieldSpec]) -> None:
    present = {f.name for f in message.field}
    for name, number, kind, label, type_name, default in fields:
        if name in present:  # the installed Caffe is yahoo's fork, or one made from it
            continue
        field = message.field.add(name=name, number=number, type=kind, label=label)
        if type_name is not None:
            field.type_name = type_name
        if default is not None:
            field.default_value = default


def _derive() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old packages caffe imports
        from caffe.proto import caffe_pb2

    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    messages = {m.name: m for m in file.message_type}
    if "CoSDataParameter" not in messages:
        cos = file.message_type.add(name="CoSDataParameter")
        values = cos.enum_type.add(name="DataType").value
        for number, name in enumerate(_DATA_TYPES):
            values.add(name=name, number=number)
        _add_fields(cos.nested_type.add(name="TopBlob"), _TOP_BLOB_FIELDS)
        _add_fields(cos, _COS_DATA_FIELDS)
    _add_fields(messages["LayerParameter"], _LAYER_FIELDS)
    _add_fields(messages["MemoryDataParameter"], _MEMORY_DATA_FIELDS)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_pool = _derive()


def _message(name: str) -> Any:
    descriptor = _pool.FindMessageTypeByName("caffe." + name)
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and newer
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_pool).GetPrototype(descriptor)


def field_names(message_type: str) -> List[str]:
    """The names of the fields of a message, such as ``caffe.LayerParameter``; empty for an unknown message."""
    try:
        return [f.name for f in _pool.FindMessageTypeByName(message_type).fields]
    except KeyError:
        return []


NetParameter: Any = _message("NetParameter")
LayerParameter: Any = _message("LayerParameter")
SolverParameter: Any = _message("SolverParameter")
SolverState: Any = _message("SolverState")
BlobProto: Any = _message("BlobProto")
Datum: Any = _message("Datum")
