"""A net for each way in which data layers name and change their data."""

from tests.corpus.case import (
    CONV,
    DATA,
    LOSS,
    REFUSED,
    SOLVER,
    Case,
    as_v1,
    classified,
    database,
    inner_product,
    layer,
    numbers,
)

IP = inner_product("data>x", 4)
OWN = "random numbers are each one's own"


def data(rest, source="images_lmdb"):
    return classified(IP, data=database("data,label", source, rest))


def transformed(rest, source="images_lmdb"):
    return data(f"transform_param {{ {rest} }}", source)


def pictures(rest, transform="scale: 0.01", phases=""):
    rest = f"image_data_param {{ {rest} batch_size: 10 }} transform_param {{ {transform} }} {phases}"
    return classified(IP, data=layer("ImageData", ">data,label", rest))


NETS = {
    "Data as it is": data(""),
    "Data mean_value": transformed("mean_value: 100 scale: 0.02"),
    "Data mean_value for each channel": transformed("mean_value: 100 mean_value: 90 mean_value: 80", "colour_lmdb"),
    "Data one mean_value for three": transformed("mean_value: 100", "colour_lmdb"),
    "Data mean_file": transformed('mean_file: "mean.binaryproto" scale: 0.02'),
    "Data crop_size of the whole": transformed("crop_size: 12"),
    "Data encoded": data("", "png_lmdb"),
    "Data encoded force_gray": transformed("force_gray: true", "png_lmdb"),
    "Data encoded force_color": transformed("force_color: true", "png_lmdb"),
    "Data floats": transformed("scale: 0.5", "float_lmdb"),
    "Data prefetch": data("").replace("batch_size", "prefetch: 2 batch_size"),
    "Data old fields in a layer of today": data("").replace("batch_size", "scale: 7 mirror: true batch_size"),
    "Data without labels": database("data", "images_lmdb")
    + inner_product("data>x", 20)
    + inner_product("x>y", 144)
    + layer("Flatten", "data>flat")
    + layer("EuclideanLoss", "y,flat>loss", "loss_weight: 0.01"),
    "Data loss_weight 0": data("loss_weight: 0 loss_weight: 0"),
    "two data layers": database("data,label", "images_lmdb")
    + numbers("x,target")
    + inner_product("x>y", 5)
    + layer("EuclideanLoss", "y,target>distance")
    + inner_product("data>ip", 10)
    + LOSS,
    "another data layer for TEST": database(
        "data,label", "images_lmdb", "include { phase: TRAIN } transform_param { scale: 0.01 }"
    )
    + database("data,label", "png_lmdb", "include { phase: TEST } transform_param { scale: 0.02 }")
    + inner_product("data>ip", 10)
    + LOSS,
    "another kind of data for TEST": layer(
        "Data",
        ">data,label",
        'include { phase: TRAIN } data_param { source: "images_lmdb" batch_size: 10 backend: LMDB } '
        "transform_param { scale: 0.004 }",
    )
    + numbers("data,label", "").replace("hdf5_data_param", "include { phase: TEST } hdf5_data_param")
    + inner_product("data>ip", 10)
    + LOSS,
    "HDF5Data": numbers("data,label") + inner_product("data>ip", 10) + LOSS,
    "HDF5Data two files": numbers("data,label").replace("numbers.txt", "two_files.txt")
    + inner_product("data>ip", 10)
    + LOSS,
    "HDF5Data eight tops": numbers("x,x2,target,probability,binary,label,label5,clip")
    + layer("Silence", "x2,probability,binary,label,label5,clip>")
    + inner_product("x>y", 5)
    + layer("EuclideanLoss", "y,target>loss"),
    "ImageData colour": pictures('source: "colour.txt"'),
    "ImageData grey": pictures('source: "grey.txt" is_color: false'),
    "ImageData grey files in colour": pictures('source: "grey.txt"'),
    "ImageData colour files in grey": pictures('source: "colour.txt" is_color: false'),
    "ImageData root_folder": pictures('source: "bare.txt" root_folder: "pictures/"'),
    "ImageData made smaller": pictures('source: "colour.txt" new_height: 8 new_width: 11'),
    "ImageData resized to its size": pictures('source: "colour.txt" new_height: 12 new_width: 12'),
    "ImageData mean_value": pictures('source: "colour.txt"', "mean_value: 104 mean_value: 117 mean_value: 123"),
}
RANDOM = {
    "Data crop_size": transformed("crop_size: 8"),
    "Data mirror": transformed("mirror: true"),
    "Data crop and mean_file": transformed('crop_size: 9 mirror: true mean_file: "mean.binaryproto"'),
    "HDF5Data shuffle": numbers("data,label", "shuffle: true") + inner_product("data>ip", 10) + LOSS,
    "ImageData shuffle": pictures('source: "colour.txt" shuffle: true'),
    "ImageData rand_skip": pictures('source: "colour.txt" rand_skip: 5'),
    "ImageData crop": pictures('source: "colour.txt" new_height: 16 new_width: 14', "crop_size: 12 mirror: true"),
}
MEMORY = layer(
    "MemoryData",
    ">data,label",
    'source_class: "LMDB" memory_data_param { source: "images_lmdb" batch_size: 10 channels: 1 height: 12 width: 12 } '
    "transform_param { scale: 0.00390625 }",
)

DISTANCE = inner_product("x>y", 5) + layer("EuclideanLoss", "y,target>loss")
TWO_LOSSES = inner_product("x>y", 5) + layer("EuclideanLoss", "y,target>distance") + inner_product("data>ip", 10) + LOSS
TWO = database("data,label", "images_lmdb") + numbers("x,target")


def of_classes(text, kernel=""):
    """These tops, an InnerProduct over ``data``, and a softmax loss."""
    return text + inner_product("data>ip", 10, kernel) + LOSS


def python(rest="", tops="data,label", module="tests.support.made"):
    return layer("Python", f">{tops}", f'python_param {{ module: "{module}" layer: "Numbers" }} {rest}')


def dummy(rest, tops="x,target"):
    return layer("DummyData", f">{tops}", f"dummy_data_param {{ {rest} }}")


SHAPES = "shape { dim: 10 dim: 6 } shape { dim: 10 dim: 5 }"
FILLED = "data_filler { value: 0.5 } data_filler { value: 2 }"

#: Several data layers: of one name, and with batches of different sizes.
SEVERAL = {
    "two data layers of one name": TWO.replace("x_HDF5Data", "data_Data") + TWO_LOSSES,
    "three data layers of one name": TWO.replace("x_HDF5Data", "data_Data")
    + numbers("x2").replace("x2_HDF5Data", "data_Data")
    + layer("Silence", "x2>")
    + TWO_LOSSES,
    "data layers of other batch sizes": TWO.replace(
        'source: "numbers.txt" batch_size: 10', 'source: "numbers.txt" batch_size: 4'
    )
    + TWO_LOSSES,
    "batches of which one is a multiple": TWO.replace(
        'source: "numbers.txt" batch_size: 10', 'source: "numbers.txt" batch_size: 30'
    )
    + TWO_LOSSES,
    "one name and other batch sizes": TWO.replace("x_HDF5Data", "data_Data").replace(
        'source: "numbers.txt" batch_size: 10', 'source: "numbers.txt" batch_size: 5'
    )
    + TWO_LOSSES,
    "images and time steps": database("data", "images_lmdb", batch=20)
    + numbers("words,label").replace("batch_size: 10", "batch_size: 5")
    + inner_product("data>a", 6)
    + layer("Reshape", "a>b", "reshape_param { shape { dim: 5 dim: 24 } }")
    + layer("Concat", "b,words>c")
    + inner_product("c>ip", 10)
    + LOSS,
    "another batch size for TEST": database(
        "data,label", "images_lmdb", "include { phase: TRAIN } transform_param { scale: 0.004 }"
    )
    + database("data,label", "images_lmdb", "include { phase: TEST } transform_param { scale: 0.004 }", batch=25)
    + CONV
    + inner_product("conv>ip", 10)
    + LOSS,
}
#: Nets that make their data themselves.
MADE = {
    "DummyData constant": dummy(f"{SHAPES} {FILLED}") + DISTANCE,
    "DummyData one shape for all tops": dummy(f"shape {{ dim: 10 dim: 5 }} {FILLED}") + DISTANCE,
    "DummyData refilled": dummy(f'{SHAPES} data_filler {{ type: "xavier" }} data_filler {{ type: "uniform" max: 2 }}')
    + DISTANCE,
    "DummyData random": dummy(f'{SHAPES} data_filler {{ type: "gaussian" }} data_filler {{ type: "uniform" }}')
    + DISTANCE,
    "DummyData of four numbers": dummy("num: 10 channels: 6 height: 1 width: 1", "x")
    + inner_product("x>y", 5)
    + layer("Reduction", "y>loss", "loss_weight: 1"),
    "DummyData for TRAIN and data for TEST": dummy(f"{SHAPES} {FILLED}").replace(
        "dummy_data_param", "include { phase: TRAIN } dummy_data_param"
    )
    + numbers("x,target").replace("hdf5_data_param", "include { phase: TEST } hdf5_data_param")
    + DISTANCE,
    "data for TRAIN and DummyData for TEST": numbers("x,target").replace(
        "hdf5_data_param", "include { phase: TRAIN } hdf5_data_param"
    )
    + dummy(f"{SHAPES} {FILLED}").replace("dummy_data_param", "include { phase: TEST } dummy_data_param")
    + DISTANCE,
    "two DummyData layers": dummy("shape { dim: 10 dim: 6 } data_filler { value: 2 }", "x")
    + dummy("shape { dim: 10 dim: 5 } data_filler { value: 3 }", "target")
    + DISTANCE,
    "V1 DUMMY_DATA": as_v1(dummy(f"{SHAPES} {FILLED}") + DISTANCE),
    "Python data layer": of_classes(python()),
    "Python data layer and Accuracy": of_classes(python())
    + layer("Accuracy", "ip,label>accuracy", "include { phase: TEST }"),
    "Python data layer beside Data": database("data,label", "images_lmdb")
    + python(tops="n")
    + layer("Reduction", "n>m")
    + layer("Silence", "m>")
    + inner_product("data>ip", 10)
    + LOSS,
    "Python and DummyData layers": python(tops="x")
    + dummy("shape { dim: 4 dim: 5 } data_filler { value: 3 }", "target")
    + DISTANCE,
    "Input without columns": layer("Input", ">x", "input_param { shape { dim: 10 dim: 6 } }")
    + inner_product("x>y", 5)
    + layer("Reduction", "y>loss", "loss_weight: 1"),
    "Input with a label": of_classes(
        layer("Input", ">data,label", "input_param { shape { dim: 4 dim: 6 } shape { dim: 4 } }"),
        'bias_filler { type: "constant" value: 0.5 }',
    ),
    "input fields": of_classes(
        'input: "data" input_dim: 4 input_dim: 6 input_dim: 1 input_dim: 1\n'
        'input: "label" input_dim: 4 input_dim: 1 input_dim: 1 input_dim: 1\n',
        'bias_filler { type: "constant" value: 0.5 }',
    ),
    "input_shape fields": of_classes(
        'input: "data" input: "label" input_shape { dim: 4 dim: 6 } input_shape { dim: 4 }\n',
        'bias_filler { type: "constant" value: 0.5 }',
    ),
    "Input beside data": numbers("x,target")
    + layer("Input", ">zero", "input_param { shape { dim: 10 dim: 5 } }")
    + inner_product("x>a", 5)
    + layer("Eltwise", "a,zero>y")
    + layer("EuclideanLoss", "y,target>loss"),
}
#: LevelDB locks a database, so stock Caffe cannot have one in both phases.
LEVEL_FOR_TRAIN = "include { phase: TRAIN } transform_param { scale: 0.004 }"


def level(backend="", source="images_leveldb"):
    return of_classes(
        database("data,label", source, LEVEL_FOR_TRAIN, backend)
        + database("data,label", "images_lmdb", LEVEL_FOR_TRAIN.replace("TRAIN", "TEST"))
    )


LEVELDB = {
    "LevelDB without a backend": level(),
    "LevelDB": level("backend: LEVELDB"),
    "LevelDB by number": level("backend: 0"),
    "LevelDB encoded": level("", "png_leveldb"),
    "V1 LevelDB": as_v1(level()),
    "V1 LevelDB with old fields": as_v1(level())
    .replace("transform_param { scale: 0.004 }", "")
    .replace("batch_size: 10", "batch_size: 10 scale: 0.004"),
}
V0_LEVELDB = "".join(
    (
        'layers { layer { name: "d" type: "data" source: "images_leveldb" batchsize: 10 scale: 0.004 } '
        'top: "data" top: "label" }\n',
        'layers { layer { name: "ip" type: "innerproduct" num_output: 10 weight_filler { type: "xavier" } } '
        'bottom: "data" top: "ip" }\n',
        'layers { layer { name: "loss" type: "softmax_loss" } bottom: "ip" bottom: "label" }\n',
    )
)
LOCKED = "LevelDB locks a database, which here is read in a view of each reader's own"
NAMED = "data layers have no parameters, so their names do not matter to a test net"
AS_IT_IS = "what a folder holds says how it is read"


def of_sizes(data):
    """A net that takes images of any size."""
    pool = layer("Pooling", "conv>x", "pooling_param { pool: AVE global_pooling: true }")
    return data + CONV + pool + inner_product("x>ip", 10) + LOSS


SIZES = layer("ImageData", ">data,label", 'image_data_param { source: "sizes.txt" batch_size: 1 }')
VARYING = {
    "images of varying size": of_sizes(SIZES),
    "images of varying size in an LMDB": of_sizes(database("data,label", "sizes_lmdb", batch=1)),
    "images of varying size scaled": of_sizes(SIZES).replace(
        "image_data_param", "transform_param { scale: 0.1 mean_value: 99 } image_data_param"
    ),
    "encoded images of varying size": of_sizes(
        database("data,label", "png_sizes_leveldb", LEVEL_FOR_TRAIN, "", 1)
        + database("data,label", "sizes_lmdb", LEVEL_FOR_TRAIN.replace("TRAIN", "TEST"), batch=1)
    ),
}

BAD = {
    "Data missing": data("", "missing_lmdb"),
    "Data batch_size": data("").replace("batch_size: 10", ""),
    "Data mean_file and mean_value": transformed('mean_file: "mean.binaryproto" mean_value: 3'),
    "Data mean_file of another size": transformed('mean_file: "mean.binaryproto"', "colour_lmdb"),
    "Data two mean_values for one channel": transformed("mean_value: 1 mean_value: 2"),
    "Data crop_size too large": transformed("crop_size: 13"),
    "Data force_color and force_gray": transformed("force_color: true force_gray: true", "png_lmdb"),
    "Data three tops": data("").replace('top: "label"', 'top: "label" top: "more"', 1),
    "HDF5Data missing": numbers("data,label").replace("numbers.txt", "missing.txt")
    + inner_product("data>ip", 10)
    + LOSS,
    "HDF5Data without such a set": numbers("data,label,no") + inner_product("data>ip", 10) + LOSS,
    "HDF5Data transform_param": numbers("data,label").replace(
        "hdf5_data_param", "transform_param { scale: 2 } hdf5_data_param"
    )
    + inner_product("data>ip", 10)
    + LOSS,
    "ImageData one of new_height and new_width": pictures('source: "colour.txt" new_height: 12'),
    "LevelDB missing": level("", "missing_leveldb"),
    "DummyData of shapes and numbers": dummy(f"{SHAPES} num: 10 channels: 1 height: 1 width: 1") + DISTANCE,
    "DummyData three shapes for two": dummy(f"{SHAPES} shape {{ dim: 3 }}") + DISTANCE,
    "DummyData three fillers for two": dummy(f"{SHAPES} {FILLED} data_filler {{ value: 1 }}") + DISTANCE,
    "DummyData without a shape": dummy("") + DISTANCE,
    "Input two shapes for three": of_classes(
        layer("Input", ">data,label,more", "input_param { shape { dim: 4 dim: 6 } shape { dim: 4 } }")
    ),
    "Python data layer without its module": of_classes(python(module="not_there")),
    "images of varying size in a batch": of_sizes(SIZES.replace("batch_size: 1", "batch_size: 10")),
    "images of varying size for an InnerProduct": of_classes(SIZES),
    "ImageData missing": pictures('source: "missing.txt"'),
}
#: What DummyData beside our data has been from the start.
BESIDE = (
    DATA
    + layer("DummyData", ">extra", "dummy_data_param { shape { dim: 10 dim: 3 } data_filler { value: 1.5 } }")
    + inner_product("data>y", 7)
    + layer("Concat", "y,extra>z")
    + inner_product("z>ip", 10)
    + LOSS
)


COS = layer(
    "CoSData",
    ">x,target",
    'source_class: "DataFrameSource" cos_data_param { batch_size: 10 source: "numbers.parquet" '
    'top { name: "x" type: FLOAT_ARRAY channels: 6 sample_num_axes: 1 } '
    'top { name: "target" type: FLOAT_ARRAY channels: 5 sample_num_axes: 1 } }',
)
FRAME = MEMORY.replace('"LMDB"', '"ImageDataFrame"').replace("images_lmdb", "images.parquet")
#: Data that Spark brings to the ranks, and what stock Caffe reads instead.
ON_SPARK = {
    "CoSData": Case(COS + DISTANCE, stock_net=numbers("x,target") + DISTANCE),
    "MemoryData with a DataFrame": Case(classified(IP, data=FRAME), stock_net=classified(IP)),
}


def cases():
    found = {name: Case(net) for name, net in NETS.items()}
    found["DummyData beside data"] = Case(BESIDE)
    found["MemoryData with a source"] = Case(classified(IP, data=MEMORY), stock_net=classified(IP))
    found.update({name: Case(net, random=True, why=OWN) for name, net in RANDOM.items()})
    found.update({f"bad {name}": Case(net, stock=REFUSED, ours=REFUSED) for name, net in BAD.items()})
    found.update({name: Case(net) for some in (SEVERAL, MADE, LEVELDB, VARYING) for name, net in some.items()})
    found["V0 LevelDB"] = Case(V0_LEVELDB, SOLVER)
    found["a data layer named as another layer"] = Case(
        TWO.replace("x_HDF5Data", "ip_InnerProduct") + TWO_LOSSES, stock=REFUSED, why=NAMED
    )
    found["one LevelDB in both phases"] = Case(
        of_classes(database("data,label", "images_leveldb", backend="")), stock=REFUSED, why=LOCKED
    )
    found["LMDB without a backend"] = Case(
        of_classes(database("data,label", "images_lmdb", backend="")), stock=REFUSED, why=AS_IT_IS
    )
    found["LevelDB named an LMDB"] = Case(level("backend: LMDB"), stock=REFUSED, why=AS_IT_IS)
    found["Data layer twice of one name and top"] = Case(
        of_classes(database("data,label", "images_lmdb") * 2), stock=REFUSED, ours=REFUSED
    )
    return found
