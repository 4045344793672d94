"""The schema: stock Caffe's to the letter, without Caffe, with a fork's messages over it, out of an archive."""

import ast
import pathlib
import zipfile

import pytest
from google.protobuf import descriptor_pb2

from caffeonspark.errors import ConfigError
from caffeonspark.nets import schema
from caffeonspark.nets.forks import lay_over, read_generated
from caffeonspark.nets.proto_file import Messages, read_proto
from tests.support.library_alone import WITHOUT_CAFFE, run

ROOT = pathlib.Path(__file__).parent.parent.parent
FIELD = descriptor_pb2.FieldDescriptorProto

# ---- stock Caffe's


def facts(descriptor):
    """Everything the schema says about a message and those nested in it."""
    fields = {
        field.name: (
            field.number,
            field.type,
            field.label,
            field.has_default_value,
            field.default_value if field.label != FIELD.LABEL_REPEATED else None,
            field.message_type and field.message_type.full_name,
            field.enum_type and field.enum_type.full_name,
            field.GetOptions().packed,
            field.GetOptions().deprecated,
        )
        for field in descriptor.fields
    }
    return {
        "fields": fields,
        "enums": {enum.name: values(enum) for enum in descriptor.enum_types},
        "nested": {nested.name: facts(nested) for nested in descriptor.nested_types},
    }


def values(enum):
    return [(value.name, value.number) for value in enum.values]


def test_the_description_is_stock_caffe_to_the_letter():
    from caffe.proto import caffe_pb2

    ours = Messages(read_proto("caffeonspark.nets", "caffe.proto"))["NetParameter"].DESCRIPTOR.file
    theirs = caffe_pb2.DESCRIPTOR
    if "clip_param" not in caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name:
        pytest.skip("the installed Caffe is older than August 2018")
    assert list(ours.message_types_by_name) == list(theirs.message_types_by_name)
    for name, message in theirs.message_types_by_name.items():
        assert facts(ours.message_types_by_name[name]) == facts(message), name
    assert {n: values(e) for n, e in ours.enum_types_by_name.items()} == {
        n: values(e) for n, e in theirs.enum_types_by_name.items()
    }


def test_the_extensions_have_the_numbers_of_caffeonspark():
    def numbers(message):
        return {field.name: field.number for field in message.DESCRIPTOR.fields}

    layer = numbers(schema.LayerParameter)
    assert (layer["source_class"], layer["cos_data_param"]) == (10001, 10010)
    memory = schema.LayerParameter().memory_data_param
    assert {name: number for name, number in numbers(memory).items() if number >= 10000} == {
        "share_in_parallel": 10000,
        "source": 10001,
        "dataframe_column_select": 10002,
        "image_encoded": 10003,
        "dataframe_format": 10004,
    }
    assert memory.share_in_parallel and memory.dataframe_format == "parquet"
    cos = schema.LayerParameter().cos_data_param
    assert numbers(cos) == {"source": 1, "batch_size": 2, "shuffle": 3, "dataframe_format": 4, "top": 5}
    top = cos.top.add()
    assert list(numbers(top).values()) == list(range(1, 12))
    assert (top.sample_num_axes, top.channels, top.transpose) == (3, 0, False)
    assert [value.number for value in cos.DESCRIPTOR.enum_types_by_name["DataType"].values] == list(range(8))


def test_classes_of_one_schema_go_together():
    layer = schema.LayerParameter(name="conv1")
    net = schema.NetParameter()
    net.layer.add().CopyFrom(layer)
    layer.CopyFrom(net.layer[0])
    assert isinstance(net.layer[0], schema.LayerParameter)
    assert "convolution_param" in schema.field_names("caffe.LayerParameter")
    assert schema.field_names("caffe.NoSuchMessage") == []


# ---- without Caffe, and beside it


def test_every_prototxt_parses_without_caffe():
    printed = run(
        f"""
        import pathlib
        from google.protobuf import text_format
        from caffeonspark.nets.schema import NetParameter, SolverParameter
        for path in sorted(pathlib.Path({str(ROOT)!r}, "prototxt").glob("*.prototxt")):
            message = (SolverParameter if "solver" in path.name else NetParameter)()
            text_format.Parse(path.read_text(), message)
            print(path.name)
        """,
        before=WITHOUT_CAFFE,
    )
    assert printed.split() == sorted(path.name for path in (ROOT / "prototxt").glob("*.prototxt"))


def test_the_installed_caffe_is_read_but_not_loaded():
    printed = run(
        """
        from caffeonspark.nets import forks, schema
        print(forks.find_generated() is not None, sorted(name for name in sys.modules if "caffe" in name))
        import caffe.proto.caffe_pb2 as theirs  # goes with ours in one process, whichever comes first
        theirs.NetParameter.FromString(schema.NetParameter(name="x").SerializeToString())
        """
    )
    assert printed.startswith("True")
    loaded = ast.literal_eval(printed.partition(" ")[2])
    assert all(name.split(".")[0] == "caffeonspark" for name in loaded)


def test_a_folder_called_caffe_is_no_caffe(tmp_path):
    (tmp_path / "caffe").mkdir()
    printed = run(
        f"""
        import importlib.util
        from caffeonspark.nets.forks import find_generated
        sys.path = [{str(tmp_path)!r}]
        print(importlib.util.find_spec("caffe").name, find_generated())
        """
    )
    assert printed.split() == ["caffe", "None"]


def test_the_schema_comes_along_in_the_archive_for_executors(tmp_path):
    from caffeonspark.spark.library_zip import library_files

    archive = tmp_path / "library.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for name, path in library_files().items():
            z.write(path, f"caffeonspark/{name}")
    printed = run(
        """
        from caffeonspark.nets import schema
        print(schema.__file__, len(schema.field_names("caffe.LayerParameter")))
        """,
        library=archive / "caffeonspark",
    )
    file, fields = printed.split()
    assert file.startswith(str(archive)) and int(fields) > 50


# ---- a fork


def escaped(content):
    return "".join(chr(b) if 32 <= b < 127 and b not in b"'\"\\" else f"\\{b:03o}" for b in content)


STYLES = {
    "protoc 2": "DESCRIPTOR = _descriptor.FileDescriptor(\n  name='caffe.proto',\n  serialized_pb='{}')\n",
    "protoc 3": "DESCRIPTOR = _descriptor.FileDescriptor(\n  syntax='proto2',\n  serialized_pb=_b('{}')\n)\n",
    "protoc 3.12": "DESCRIPTOR = _descriptor.FileDescriptor(\n  package='caffe',\n  serialized_pb=b'{}'\n)\n",
    "protoc 3.20": "DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile(b'{}')\n",
}


def generated(file, style="protoc 3.20"):
    header = "# -*- coding: utf-8 -*-\n# Generated by the protocol buffer compiler.  DO NOT EDIT!\nraise ImportError\n"
    return header + STYLES[style].format(escaped(file.SerializeToString()))


@pytest.fixture
def fork():
    """Stock Caffe with what forks do to it: fields changed, moved and added, messages and enum values of their own."""
    file = read_proto("caffeonspark.nets", "caffe.proto")
    messages = {message.name: message for message in file.message_type}
    box = file.message_type.add(name="BoxParameter")
    box.field.add(name="sizes", number=1, type=FIELD.TYPE_FLOAT, label=FIELD.LABEL_REPEATED)
    layer = messages["LayerParameter"]
    layer.field.add(
        name="box_param",
        number=149,
        type=FIELD.TYPE_MESSAGE,
        label=FIELD.LABEL_OPTIONAL,
        type_name=".caffe.BoxParameter",
    )
    # another name at a number of ours, and one of CaffeOnSpark's names at another number
    layer.field.add(name="private", number=10010, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    messages["MemoryDataParameter"].field.add(
        name="source", number=9, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL
    )
    for field in list(messages["DropoutParameter"].field):
        if field.name == "dropout_ratio":
            field.default_value = "0.25"
    for field in messages["TransformationParameter"].field:
        if field.name == "mirror":
            field.type, field.default_value = FIELD.TYPE_UINT32, "2"
        if field.name == "force_gray":
            field.name = "grey"
    kept = [field for field in messages["SolverParameter"].field if field.name != "iter_size"]  # an older Caffe
    del messages["SolverParameter"].field[:]
    messages["SolverParameter"].field.extend(kept)
    messages["SolverParameter"].enum_type[2].value.add(name="LARS", number=6)
    file.enum_type.add(name="Corner").value.add(name="TOP_LEFT", number=0)
    return file


def numbers(message):
    return {field.name: field.number for field in message.DESCRIPTOR.fields}


@pytest.mark.parametrize("style", STYLES)
def test_a_fork_is_laid_over_stock_caffe(fork, style, tmp_path):
    path = tmp_path / "caffe_pb2.py"
    path.write_text(generated(fork, style))
    read = read_generated(str(path))
    assert read == fork
    ours = read_proto("caffeonspark.nets", "caffeonspark.proto")
    messages = Messages(lay_over(lay_over(read_proto("caffeonspark.nets", "caffe.proto"), read), ours))
    layer = messages["LayerParameter"]()
    layer.box_param.sizes.append(0.5)
    assert layer.dropout_param.dropout_ratio == 0.25
    transform = numbers(layer.transform_param)
    assert layer.transform_param.mirror == 2
    assert transform["grey"] == 7 and "force_gray" not in transform
    solver = messages["SolverParameter"]
    assert numbers(solver)["iter_size"] == 36  # ours, which this fork lacks
    assert solver.SolverType.items() == [*schema.SolverParameter.SolverType.items(), ("LARS", 6)]
    assert "Corner" in solver.DESCRIPTOR.file.enum_types_by_name
    assert numbers(layer)["cos_data_param"] == 10010 and "private" not in numbers(layer)
    assert numbers(layer.memory_data_param)["source"] == 10001


def install(folder, text):
    """A package ``caffe`` that must not be executed."""
    (folder / "caffe" / "proto").mkdir(parents=True)
    for package in (folder / "caffe", folder / "caffe" / "proto"):
        (package / "__init__.py").write_text("raise ImportError('executed')\n")
    (folder / "caffe" / "proto" / "caffe_pb2.py").write_text(text)


def test_an_installed_fork_is_found(fork, tmp_path):
    install(tmp_path, generated(fork))
    printed = run(
        """
        from caffeonspark.nets.schema import NetParameter
        from google.protobuf import text_format
        text = 'layer { name: "b" source_class: "X" box_param { sizes: 1 } cos_data_param { batch_size: 2 } }'
        print(text_format.Parse(text, NetParameter()).layer[0].box_param.sizes[0], "caffe" in sys.modules)
        """,
        path=[tmp_path],
    )
    assert printed.split() == ["1.0", "False"]


def test_forks_may_use_oneofs(fork):
    fork.message_type[0].oneof_decl.add(name="choice")
    fork.message_type[0].field.add(
        name="fast", number=50, type=FIELD.TYPE_BOOL, label=FIELD.LABEL_OPTIONAL, oneof_index=0
    )
    merged = lay_over(read_proto("caffeonspark.nets", "caffe.proto"), fork)
    merged = lay_over(merged, read_proto("caffeonspark.nets", "caffeonspark.proto"))
    blob = Messages(merged)[fork.message_type[0].name](fast=True)
    assert blob.WhichOneof("choice") == "fast"


def broken(file, kind):
    text = generated(file)
    if kind == "damaged":
        return text.replace("caffe", "caff", 3)
    return {"empty": "", "another program's": "x = 1\n", "cut": text[:-500]}[kind]


@pytest.mark.parametrize("kind", ["empty", "another program's", "cut", "damaged"])
def test_an_installed_caffe_that_cannot_be_understood_is_named(fork, kind, tmp_path):
    path = tmp_path / "caffe_pb2.py"
    path.write_text(broken(fork, kind))
    with pytest.raises(ConfigError) as e:
        read_generated(str(path))
    assert e.value.message.startswith(f"{path}: ") and "protoc" in e.value.message
    assert "\n" not in str(e.value)


def test_other_messages_are_not_taken_for_caffe(tmp_path):
    path = tmp_path / "caffe_pb2.py"
    path.write_text(generated(descriptor_pb2.FileDescriptorProto(name="other.proto", package="other")))
    with pytest.raises(ConfigError, match="not Caffe's messages"):
        read_generated(str(path))


def test_a_caffe_that_was_not_built_is_named(fork, tmp_path):
    with pytest.raises(ConfigError, match="make pycaffe"):
        read_generated(str(tmp_path / "caffe_pb2.py"))


def test_messages_that_do_not_go_with_stock_caffe_are_named(fork, tmp_path):
    for number in range(60, 100):
        fork.message_type[0].field.add(
            name=f"wrong{number}",
            number=number,
            type=FIELD.TYPE_MESSAGE,
            label=FIELD.LABEL_OPTIONAL,
            type_name=f".caffe.Missing{number}",
        )
    install(tmp_path, generated(fork))
    printed = run(
        """
        from caffeonspark.errors import ConfigError
        try:
            import caffeonspark.nets.schema
        except ConfigError as e:
            print(e.message)
        """,
        path=[tmp_path],
    )
    assert "caffe_pb2.py: the installed Caffe's messages do not go with stock Caffe's" in printed
    assert printed.endswith("; install another Caffe\n")
    assert len(printed) < 600  # protobuf lists all that is wrong
