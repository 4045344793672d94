"""How tools can compress what they write."""

__all__ = ["CODECS"]

#: Hadoop's compression codecs by the names people use.
CODECS = {
    "none": "",
    "default": "org.apache.hadoop.io.compress.DefaultCodec",
    "gzip": "org.apache.hadoop.io.compress.GzipCodec",
    "snappy": "org.apache.hadoop.io.compress.SnappyCodec",
    "zstd": "org.apache.hadoop.io.compress.ZStandardCodec",
}
