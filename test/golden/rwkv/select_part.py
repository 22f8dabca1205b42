#!/usr/bin/env python3
"""Writes this folder: the part of a full set of RWKV cases that is small enough for the repository.

    python3 make_golden.py /tmp/golden-rwkv SEED && python3 select_part.py /tmp/golden-rwkv

Of each version the model, of full.safetensors all but the gradients of the large matrices, and of the adapters in METHODS
one file each: `adapter.<name>` and `init.<name>` (from the .pth files), logits, loss, their gradients and one merged weight.
"""
import collections
import importlib.util
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

METHODS = ("lora", "pissa", "bone", "bone_ragged", "bat")

# The script of the Llama cases has the same name and the functions that copy tensors.
spec = importlib.util.spec_from_file_location("models_part", Path(__file__).parent.parent / "models/select_part.py")
models_part = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models_part)


def is_large(name, entry):
    return name.startswith("grad.") and name.endswith(".weight") and len(entry["shape"]) == 2


class FloatsOnly(pickle.Unpickler):
    """The tensors of a .pth file of ours: (entry, bytes) as a safetensors file has them. Other globals are refused."""

    def __init__(self, archive, folder):
        super().__init__(archive.open(folder + "/data.pkl"))
        self.read = lambda key: archive.read(f"{folder}/data/{key}")

    def find_class(self, module, name):
        known = {("collections", "OrderedDict"): collections.OrderedDict, ("torch", "FloatStorage"): "F32",
                 ("torch._utils", "_rebuild_tensor_v2"): self.rebuild}
        return known[module, name]

    def persistent_load(self, storage):
        return self.read(storage[2])

    @staticmethod
    def rebuild(data, offset, shape, strides, *_):
        rows = [4 * offset]
        for extent, stride in zip(shape, strides):
            rows = [at + 4 * stride * i for at in rows for i in range(extent)]
        return {"dtype": "F32", "shape": list(shape)}, b"".join(data[at:at + 4] for at in rows)


def read_pth(path):
    with zipfile.ZipFile(path) as archive:
        return FloatsOnly(archive, archive.namelist()[0].split("/")[0]).load()


def write_method(source, target, method):
    _, expected = models_part.read(source / f"{method}.safetensors")
    tensors = {name: tensor for name, tensor in expected.items()
               if not name.startswith("merged.") or name == "merged.blocks.0.att.key.weight"}
    for name, tensor in read_pth(source / f"{method}.adapter.pth").items():
        tensors["adapter." + name] = tensor
    if method == "pissa":
        for name, tensor in read_pth(source / "init_pissa.pth").items():
            tensors["init." + name.removeprefix("model.")] = tensor
    models_part.write(target / f"{method}.safetensors", None, dict(sorted(tensors.items())))


def main(whole, here):
    for version in ("rwkv6", "rwkv7"):
        (here / version).mkdir(exist_ok=True)
        shutil.copyfile(whole / version / "model.safetensors", here / version / "model.safetensors")
        models_part.copy_some(whole / version / "full.safetensors", here / version / "full.safetensors",
                              lambda name, entry, _: not is_large(name, entry))
        for method in METHODS:
            write_method(whole / version, here / version, method)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
