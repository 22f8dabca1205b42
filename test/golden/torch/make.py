#!/usr/bin/env python3
"""Writes the .pth files of test/nn/torch_file_test.cpp with torch (2.x), and what they hold as safetensors.

    python3 make.py OUT_FOLDER        needs torch and safetensors; the tests need neither
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

out = Path(sys.argv[1])
torch.manual_seed(3)
base = torch.randn(6, 10)
tensors = {
    "f32": torch.randn(3, 5),
    "bf16": torch.randn(7).bfloat16(),
    "f16": torch.randn(2, 3, 4).half(),
    "i64": torch.arange(-3, 6),
    "i32": torch.arange(5, dtype=torch.int32),
    "u8": torch.arange(9, dtype=torch.uint8),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    "transposed": base.t(),  # a view with strides
    "column": base[:, 3],  # and one with an offset, of the same storage
    "step": base[1::2, ::3],
    "parameter": torch.nn.Parameter(torch.randn(4)),
}
torch.save(tensors, out / "mixed.pth")
save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, out / "mixed.safetensors")

module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))  # an OrderedDict with _metadata: BUILD
torch.save(module.state_dict(), out / "state_dict.pth")
torch.save(tensors, out / "legacy.pth", _use_new_zipfile_serialization=False)
