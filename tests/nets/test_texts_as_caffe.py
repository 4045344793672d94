"""How prototxts may be written: Caffe's own parser takes what ours takes, and reads the same in it."""

import pytest
from google.protobuf import text_format

from caffeonspark.errors import ConfigError
from caffeonspark.nets.prototxt import parse_as_written
from caffeonspark.nets.schema import SolverParameter
from tests.support import stock_tools

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        stock_tools.find("upgrade_solver_proto_text") is None, reason="this Caffe has no upgrade_solver_proto_text"
    ),
]

LINES = (
    'net: "net.prototxt"\nbase_lr: 0.01\nmomentum: 0.9\nlr_policy: "fixed"\nweight_decay: 0.0005\n'
    "test_iter: 2\ntest_interval: 3\ntest_initialization: false\n"
)
WRITTEN = {
    "comments behind everything": LINES.replace("\n", "   # as of 2015: { \" ' }\n"),
    "comments between a name and its value": LINES.replace("momentum:", "momentum # the\n  :  # value\n "),
    "a comment at the end without a line's end": LINES + "# end",
    "a comment with a BOM": "\ufeff# made by an editor\n" + LINES,
    "a BOM": "\ufeff" + LINES,
    "CRLF": LINES.replace("\n", "\r\n"),
    "CR in comments": LINES.replace("\n", " # c\r\n"),
    "tabs": LINES.replace("\n", "\t\n\t").replace(": ", ":\t\t"),
    "form feeds and vertical tabs": LINES.replace("\n", "\f\n").replace(": ", ":\v"),
    "no blanks": LINES.replace(": ", ":"),
    "blanks before colons": LINES.replace(": ", "   : "),
    "semicolons": LINES.replace("\n", ";\n"),
    "commas": LINES.replace("\n", ",\n"),
    "a plus sign": LINES.replace("0.9", "+0.9"),
    "a minus sign with a blank": LINES + "clip_gradients: - 1\n",
    "a minus sign with a blank before infinity": LINES + "clip_gradients: - inf\n",
    "floats that end in f": LINES.replace("0.9", "0.9f"),
    "floats that end in F": LINES.replace("0.9", "0.9F"),
    "an integer that ends in f": LINES + "gamma: 1f\n",
    "floats without a zero": LINES.replace("0.9", ".9"),
    "floats that end in a point": LINES + "gamma: 1.\n",
    "floats in exponents": LINES.replace("0.01", "1E-2").replace("0.0005", "+5e-4").replace("+5", "5"),
    "hexadecimal": LINES.replace("test_iter: 2", "test_iter: 0x2").replace("test_iter: 0x2", "test_iter: 2")
    + "display: 0xA\n",
    "octal": LINES + "display: 012\n",
    "octal of 8": LINES + "display: 08\n",
    "hexadecimal for a float": LINES + "gamma: 0x10\n",
    "octal for a float": LINES + "gamma: 010\n",
    "inf": LINES + "gamma: inf\n",
    "infinity": LINES + "gamma: infinity\n",
    "-inf": LINES + "gamma: -inf\n",
    "nan": LINES + "gamma: nan\n",
    "NaN": LINES + "gamma: NaN\n",
    "Infinity": LINES + "gamma: Infinity\n",
    "a number that is too large": LINES + "gamma: 1e50\n",
    "an integer that is too large": LINES + "display: 3000000000\n",
    "an integer of 1e400": LINES + "gamma: 1e400\n",
    "booleans as T": LINES + "debug_info: f test_compute_loss: t\n",
    "booleans as True": LINES + "test_compute_loss: True\n",
    "booleans as TRUE": LINES + "test_compute_loss: TRUE\n",
    "booleans as 1 and 0": LINES + "test_compute_loss: 1 debug_info: 0\n",
    "booleans as 2": LINES + "test_compute_loss: 2\n",
    "booleans as 0x1": LINES + "test_compute_loss: 0x1\n",
    "booleans in quotes": LINES + 'test_compute_loss: "true"\n',
    "enums in quotes": LINES + 'solver_mode: "GPU"\n',
    "enums in lower case": LINES + "snapshot_format: hdf5\n",
    "enums of unknown numbers": LINES + "solver_mode: 7\n",
    "enums of negative numbers": LINES + "solver_mode: -1\n",
    "strings of two kinds in pieces": LINES.replace('"fixed"', "\"fi\" 'xed'"),
    "strings in pieces on two lines": LINES.replace('"fixed"', '"fi"\n   "xed"'),
    "strings in pieces with a comment": LINES.replace('"fixed"', '"fi" # and\n   "xed"'),
    "strings over two lines": LINES.replace('"fixed"', '"fix\ned"'),
    "strings that go on with a backslash": LINES.replace('"fixed"', '"fix\\\ned"'),
    "escapes": LINES.replace('"fixed"', '"\\146i\\x78\\145d"'),
    "escapes in upper case": LINES.replace('"fixed"', '"fi\\X78ed"'),
    "unknown escapes": LINES.replace('"fixed"', '"\\fixed"'),
    "an escape that is none": LINES + 'snapshot_prefix: "a\\q"\nsnapshot_after_train: false\n',
    "Windows' paths": LINES + 'snapshot_prefix: "C:\\new\\table"\nsnapshot_after_train: false\n',
    "Windows' paths, unknown escape": LINES + 'snapshot_prefix: "D:\\models\\x"\nsnapshot_after_train: false\n',
    "a quote not closed": LINES.replace('"fixed"', '"fixed'),
    "typographic quotes": LINES.replace('"fixed"', "“fixed”"),
    "a quote within the other kind": LINES + 'snapshot_prefix: "it\'s"\nsnapshot_after_train: false\n',
    "lists": LINES.replace("test_iter: 2", "test_iter: [2]"),
    "lists that are empty": LINES + "stepvalue: []\n",
    "lists with a comma behind": LINES + "stepvalue: [1, 2,]\n",
    "lists of what is no list": LINES + "gamma: [1]\n",
    "a colon twice": LINES.replace("momentum:", "momentum::"),
    "no colon": LINES.replace("momentum:", "momentum"),
    "a colon and a brace": LINES + 'train_state: { stage: "a" }\n',
    "angle brackets": LINES + 'train_state < stage: "a" >\n',
    "a colon and an angle bracket": LINES + 'train_state: < stage: "a" >\n',
    "braces that do not match": LINES + 'train_state { stage: "a" >\n',
    "names in upper case": LINES.replace("momentum", "Momentum"),
    "names with a hyphen": LINES.replace("weight_decay", "weight-decay"),
    "names in quotes": LINES.replace("momentum", '"momentum"'),
    "field numbers": LINES + "4: 0.5\n",
    "an extension": LINES + "[caffe.nothing]: 3\n",
    "a non-breaking space": LINES.replace("momentum: ", "momentum:\u00a0"),
    "a zero-width space": LINES.replace("momentum: ", "momentum: \u200b"),
    "other letters in comments": "# обучение 训练 é\n" + LINES,
    "blanks at the ends": LINES.replace("\n", "   \n   ") + "\n\n\n",
    "nothing but a comment": "# net\n",
    "two solvers in one": LINES + "test_iter: 3\n",
    "a semicolon alone": LINES + ";\n",
    "two semicolons": LINES.replace("\n", ";;\n"),
    "a brace at the end": LINES + "}\n",
    "a solver in braces": "{\n" + LINES + "}\n",
    "numbers with an underscore": LINES + "display: 1_000\n",
    "numbers with an l": LINES + "display: 10l\n",
    "a negative zero": LINES + "gamma: -0\n",
    "leading zeros in floats": LINES.replace("0.9", "00.9"),
    "a float of zeros": LINES.replace("0.9", "0.9000000000000000000000000000001"),
}


#: What Python's parser takes and Caffe's does not.
MORE = (
    "a comment with a BOM",
    "a BOM",
    "a plus sign",
    "octal for a float",
    "escapes in upper case",
    "an escape that is none",
    "a non-breaking space",
    "numbers with an underscore",
    "leading zeros in floats",
)
#: And what Caffe's takes and is refused here.
LESS = ("booleans as 0x1", "nothing but a comment")


def by_us(text):
    try:
        return text_format.MessageToString(parse_as_written(text.encode(), "solver.prototxt"))
    except ConfigError as e:
        assert str(e).startswith("solver.prototxt") and "\n" not in str(e)
        return None


@pytest.mark.parametrize("name", WRITTEN)
def test_as_caffe_reads_it(tmp_path, name):
    text = WRITTEN[name]
    source, output = tmp_path / "solver.prototxt", tmp_path / "new.prototxt"
    source.write_bytes(text.encode())
    wrote = stock_tools.run("upgrade_solver_proto_text", source, output)[1]
    stock = None if wrote is None else text_format.MessageToString(text_format.Parse(wrote.decode(), SolverParameter()))
    ours = by_us(text)
    if name in MORE:
        assert ours is not None and stock is None
    elif name in LESS:
        assert ours is None and stock is not None
    else:
        assert ours == stock
