"""Writes fixtures/parquet: sets of small pictures as `datasets` of Hugging Face writes them, by Arrow's own writer.

Usage: python3 scripts/make-parquet-fixtures.py   (needs pyarrow; written with 26.0)
"""

import json
import pathlib
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "parquet"
NAMES = ["daisy", "globe_thistle", "rose"]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(shade):
    """A picture of 8x6 of one grey."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    pixels = zlib.compress((b"\0" + bytes([shade]) * 8) * 6)
    header = struct.pack(">IIBBBBB", 8, 6, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write(path, shades, labels, kind, compression, rows, names=None):
    """A file of one picture per shade; `kind` is the labels' type, `names` those of `datasets`."""
    images = [{"bytes": png(shade), "path": f"{shade}.png"} for shade in shades]
    schema = pa.schema([("image", IMAGE), ("label", kind)])
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    table = pa.table([pa.array(images, IMAGE), pa.array(labels, kind)], schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression=compression, row_group_size=rows, use_dictionary=False)


data = OUT / "flowers" / "data"
write(data / "train-00000-of-00002.parquet", range(0, 7), [0, 1, 2, 0, 1, 2, 0], pa.int64(), "snappy", 3, NAMES)
write(data / "train-00001-of-00002.parquet", range(7, 12), [1, 2, 0, 1, 2], pa.int64(), "snappy", 3, NAMES)
write(data / "validation-00000-of-00001.parquet", range(12, 15), [0, 1, 2], pa.int64(), "gzip", 100, NAMES)
write(data / "test-00000-of-00001.parquet", range(15, 20), [2, 1, -1, 0, None], pa.int64(), "zstd", 2, NAMES)
write(OUT / "words.parquet", range(20, 32), ["sea", "land"] * 6, pa.string(), "none", 5)
write(OUT / "numbers.parquet", range(32, 44), [10, 9] * 6, pa.int32(), "brotli", 100)
