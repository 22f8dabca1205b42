"""Writes the files of this folder with the reference implementation: pip install safetensors==0.5.3

all_dtypes.safetensors   a tensor of every dtype Osteon reads, names chosen to test the order and the JSON escapes
empty.safetensors        no tensor, no metadata
"""

import struct
from pathlib import Path

from safetensors import serialize_file

here = Path(__file__).parent

patterns = {
    "bool": ("B", [0, 1, 1]),
    "uint8": ("B", [0, 1, 127, 128, 255]),
    "int8": ("b", [-128, -1, 0, 1, 127]),
    "int16": ("h", [-32768, -1, 32767]),
    "uint16": ("H", [0, 65535]),
    "float16": ("H", [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0x7BFF, 0x7C00, 0xFC00, 0x3555]),
    "bfloat16": ("H", [0x0000, 0x8000, 0x3F80, 0x0001, 0x7F80, 0xFF80, 0x7F7F, 0xC049]),
    "int32": ("i", [-(2**31), -100, 2**31 - 1]),
    "uint32": ("I", [0, 2**31 - 1]),
    "float32": ("f", [0.0, -0.0, 1.5, -3.25, 1e-45, 3.4028234663852886e38, float("inf"), -float("inf")]),
    "float64": ("d", [0.1, -1e308, 5e-324, float("inf"), 1.0]),
    "int64": ("q", [-100, 2**31 - 1, -(2**31), 0]),
    "uint64": ("Q", [7, 2**31 - 1]),
}

tensors = {}
for dtype, (code, values) in patterns.items():
    data = struct.pack(f"<{len(values)}{code}", *values)
    for name in (f"z.{dtype}", f'a."{dtype}"\\\n\u00e9\U0001f9b4'):
        tensors[name] = {"dtype": dtype, "shape": [len(values)], "data": data}
tensors["scalar"] = {"dtype": "float32", "shape": [], "data": struct.pack("<f", 2.5)}
tensors["nothing"] = {"dtype": "float32", "shape": [3, 0, 2], "data": b""}
serialize_file(tensors, here / "all_dtypes.safetensors", {"format": "pt"})
serialize_file({}, here / "empty.safetensors", None)
