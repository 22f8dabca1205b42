#!/usr/bin/env python3
"""Converts a model of RWKV-7 or RWKV-6 from rwkv.cpp's file to safetensors, under the names and shapes of the published
.pth files.

usage: ggml_to_safetensors.py MODEL.bin OUT.safetensors

Such a file (version 101) is little-endian: int32 magic, version, n_vocab, n_embed, n_layer, dtype; then for each tensor int32
n_dims, key bytes, dtype and dims, fastest first; the key; the data. F32 and F16 are taken as they are and Q5_1 is dequantised;
everything is written as F32."""
import array
import json
import math
import os
import pathlib
import struct
import sys

MAGIC, VERSION = 0x67676D66, 101
F32, F16, Q5_1 = 0, 1, 8
DTYPES = {F32: "F32", F16: "F16", Q5_1: "Q5_1", 2: "Q4_0", 3: "Q4_1", 7: "Q5_0", 9: "Q8_0"}
BLOCK, BLOCK_BYTES = 32, 24   # of Q5_1: f16 scale, f16 minimum, the fifth bits, the other four
MIXES = "rwkvag"              # the order of the token shifts that RWKV-7's are packed in


class Refused(Exception):
    """A file that is not converted, and why."""


def expect(ok, message):
    if not ok:
        raise Refused(message)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size, what):
        expect(size <= len(self.data) - self.at,
               f"{what}: expected {size} bytes at offset {self.at}, the file has {len(self.data) - self.at} more")
        self.at += size
        return self.data[self.at - size:self.at]

    def int32s(self, count, what):
        return struct.unpack(f"<{count}i", self.take(4 * count, what))


def little_endian(values):
    if sys.byteorder != "little":
        values.byteswap()
    return values


def dequantise(data):
    """Q5_1: scale * q + minimum, q of five bits. Element j has the low half of byte j, element j + 16 the high half."""
    values = array.array("f")
    for scale, minimum, fifth, quants in struct.iter_unpack("<eeI16s", data):
        level = [scale * q + minimum for q in range(32)]
        values.extend([level[quants[j] & 15 | (fifth >> j & 1) << 4] for j in range(16)])
        values.extend([level[quants[j] >> 4 | (fifth >> j + 16 & 1) << 4] for j in range(16)])
    return values


def read_tensor(reader):
    """Name, shape (slowest first) and values."""
    n_dims, key_bytes, dtype = reader.int32s(3, "a tensor's header")
    expect(1 <= n_dims <= 4, f"a tensor's header: expected 1 to 4 dimensions before offset {reader.at}, got {n_dims}")
    shape = reader.int32s(n_dims, "a tensor's dimensions")[::-1]
    expect(0 < key_bytes <= 256, f"a tensor's header: expected a name of 1 to 256 bytes, got {key_bytes}")
    name = reader.take(key_bytes, "a tensor's name").decode("utf-8", "replace")
    expect(min(shape) > 0, f"{name}: expected positive dimensions, got {list(shape)}")
    count = math.prod(shape)
    expect(dtype in (F32, F16, Q5_1), f"{name}: expected F32, F16 or Q5_1, got {DTYPES.get(dtype, f'type {dtype}')}")
    if dtype == F32:
        return name, shape, little_endian(array.array("f", reader.take(4 * count, name)))
    if dtype == F16:
        return name, shape, array.array("f", struct.unpack(f"<{count}e", reader.take(2 * count, name)))
    expect(shape[-1] % BLOCK == 0, f"{name}: expected rows of a multiple of {BLOCK} elements for Q5_1, got {shape[-1]}")
    return name, shape, dequantise(reader.take(count // BLOCK * BLOCK_BYTES, name))


def read_model(data):
    reader = Reader(data)
    magic, version, n_vocab, n_embed, n_layer, _ = reader.int32s(6, "the header")
    expect(magic == MAGIC, f"expected rwkv.cpp's magic number 0x{MAGIC:x}, got 0x{magic & 0xFFFFFFFF:x}")
    expect(version == VERSION, f"expected version {VERSION} of the format, got {version}")
    tensors = {}
    while reader.at < len(data):
        name, shape, values = read_tensor(reader)
        expect(name not in tensors, f"{name}: comes twice")
        tensors[name] = shape, values
    expect("emb.weight" in tensors, "expected a tensor emb.weight, got none")
    expect(tensors["emb.weight"][0] == (n_vocab, n_embed),
           f"emb.weight: expected {[n_vocab, n_embed]} as the header says, got {list(tensors['emb.weight'][0])}")
    layers = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    expect(layers == {str(i) for i in range(n_layer)}, f"expected {n_layer} layers as the header says, got {len(layers)}")
    return tensors


def transposed(shape, values):
    """The last two dimensions swapped."""
    *outer, rows, columns = shape
    result = array.array("f")
    for start in range(0, len(values), rows * columns):
        for column in range(columns):
            result.extend(values[start + column:start + rows * columns:columns])
    return (*outer, columns, rows), result


def published(name, shape, values):
    """The tensors of the .pth file that one of rwkv.cpp's stands for."""
    vector = (1, 1, len(values))
    suffix = name.split(".", 2)[-1] if name.startswith("blocks.") else name
    if suffix == "att.x_rwkvag":
        expect(shape[0] == len(MIXES), f"{name}: expected {len(MIXES)} token shifts, got {list(shape)}")
        width = len(values) // len(MIXES)
        return [(name.replace("x_rwkvag", f"x_{c}"), (1, 1, width), values[i * width:(i + 1) * width])
                for i, c in enumerate(MIXES)]
    if suffix in ("att.r_k", "att.time_faaaa"):   # [heads, head size], with a 1 behind in RWKV-6
        expect(len(shape) == 2 or (len(shape) == 3 and shape[2] == 1), f"{name}: expected heads x head size, got {list(shape)}")
        return [(name, shape[:2], values)]
    last = suffix.split(".")[-1]
    if last in ("w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2", "time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2"):
        expect(len(shape) >= 2, f"{name}: expected a matrix, got {list(shape)}")
        return [(name, *transposed(shape, values))]
    if last in ("w0", "a0", "v0", "k_k", "k_a", "x_k", "time_decay") or last.startswith("time_maa_"):
        return [(name, vector, values)]
    return [(name, shape, values)]


def convert(tensors):
    if "blocks.0.att.r_k" not in tensors and "blocks.0.att.time_maa_x" not in tensors:
        raise Refused("expected a model of RWKV-7 (blocks.0.att.r_k) or RWKV-6 (blocks.0.att.time_maa_x), got neither: "
                      "other versions are not converted")
    return [new for name, (shape, values) in tensors.items() for new in published(name, shape, values)]


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, values in tensors:
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + 4 * len(values)]}
        offset += 4 * len(values)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_name(path.name + ".part")   # never half a file under the final name
    with open(part, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, values in tensors:
            file.write(little_endian(values[:]).tobytes())
    os.replace(part, path)


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = map(pathlib.Path, arguments)
    try:
        tensors = convert(read_model(source.read_bytes()))
        write_safetensors(target, tensors)
    except (Refused, OSError) as error:
        print(f"error: {source}: {error}" if isinstance(error, Refused) else f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(tensors)} tensors, {sum(len(values) for _, _, values in tensors)} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
