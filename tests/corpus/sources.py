"""A net for each way in which data layers name and change their data."""

from tests.corpus.case import CONV, DATA, LOSS, REFUSED, Case, classified, inner_product, layer, lmdb, numbers

IP = inner_product("data>x", 4)
OWN = "random numbers are each one's own"


def data(rest, source="images_lmdb"):
    return classified(IP, data=lmdb("data,label", source, rest))


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
    "Data without labels": lmdb("data", "images_lmdb")
    + inner_product("data>x", 20)
    + inner_product("x>y", 144)
    + layer("Flatten", "data>flat")
    + layer("EuclideanLoss", "y,flat>loss", "loss_weight: 0.01"),
    "Data loss_weight 0": data("loss_weight: 0 loss_weight: 0"),
    "two data layers": lmdb("data,label", "images_lmdb")
    + numbers("x,target")
    + inner_product("x>y", 5)
    + layer("EuclideanLoss", "y,target>distance")
    + inner_product("data>ip", 10)
    + LOSS,
    "another data layer for TEST": lmdb(
        "data,label", "images_lmdb", "include { phase: TRAIN } transform_param { scale: 0.01 }"
    )
    + lmdb("data,label", "png_lmdb", "include { phase: TEST } transform_param { scale: 0.02 }")
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
    "ImageData missing": pictures('source: "missing.txt"'),
}
MEMORY = layer(
    "MemoryData",
    ">data,label",
    'source_class: "LMDB" memory_data_param { source: "images_lmdb" batch_size: 10 channels: 1 height: 12 width: 12 } '
    "transform_param { scale: 0.00390625 }",
)

#: Nets whose data makes itself, or comes in other ways: by what part of the library they need.
NEEDS = {
    "two data layers of one name": (
        "several data layers of one name",
        (lmdb("data,label", "images_lmdb") + numbers("x,target")).replace("x_HDF5Data", "data_Data")
        + inner_product("x>y", 5)
        + layer("EuclideanLoss", "y,target>distance")
        + inner_product("data>ip", 10)
        + LOSS,
    ),
    "data layers of other batch sizes": (
        "data layers that step at different rates",
        lmdb("data,label", "images_lmdb")
        + numbers("x,target").replace("batch_size: 10", "batch_size: 4")
        + inner_product("x>y", 5)
        + layer("EuclideanLoss", "y,target>distance")
        + inner_product("data>ip", 10)
        + LOSS,
    ),
    "DummyData constant": (
        "nets that make their own data",
        layer(
            "DummyData",
            ">x,target",
            "dummy_data_param { shape { dim: 10 dim: 6 } shape { dim: 10 dim: 5 } data_filler { value: 0.5 } "
            "data_filler { value: 2 } }",
        )
        + inner_product("x>y", 5)
        + layer("EuclideanLoss", "y,target>loss"),
    ),
    "DummyData random": (
        "nets that make their own data",
        layer(
            "DummyData",
            ">x,target",
            'dummy_data_param { shape { dim: 10 dim: 6 } shape { dim: 10 dim: 5 } data_filler { type: "gaussian" } '
            'data_filler { type: "uniform" } }',
        )
        + inner_product("x>y", 5)
        + layer("EuclideanLoss", "y,target>loss"),
    ),
    "DummyData of four numbers": (
        "nets that make their own data",
        layer("DummyData", ">x", "dummy_data_param { num: 10 channels: 6 height: 1 width: 1 }")
        + inner_product("x>y", 5)
        + layer("Reduction", "y>loss", "loss_weight: 1"),
    ),
    "images of varying size": (
        "images of varying size",
        layer("ImageData", ">data,label", 'image_data_param { source: "sizes.txt" batch_size: 1 }')
        + CONV
        + layer("Pooling", "conv>x", "pooling_param { pool: AVE global_pooling: true }")
        + inner_product("x>ip", 10)
        + LOSS,
    ),
    "Input without columns": (
        "nets that make their own data",
        layer("Input", ">x", "input_param { shape { dim: 10 dim: 6 } }")
        + inner_product("x>y", 5)
        + layer("Reduction", "y>loss", "loss_weight: 1"),
    ),
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
DISTANCE = inner_product("x>y", 5) + layer("EuclideanLoss", "y,target>loss")
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
    found.update({name: Case(net, needs=needs) for name, (needs, net) in NEEDS.items()})
    return found
