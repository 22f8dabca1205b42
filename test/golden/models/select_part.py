#!/usr/bin/env python3
"""Writes this folder: the part of a full set of golden cases that is small enough for the repository.

    python3 make_golden.py /tmp/golden 11 && python3 select_part.py /tmp/golden

Files keep the bytes of the full set. Where only some of a file's tensors are kept, their bytes are:
  full.safetensors           the gradients of vectors, that is of norms and biases; those of the matrices count in the
                             gradient norms of full.train.json
  expected.safetensors       logits_at_init only where it is not bit for bit the base's logits
  merged_layer0.safetensors  q and v, which every case adapts (mini: q and o)
"""
import json
import shutil
import struct
import sys
from pathlib import Path

# Every method once and every model; `merged` where the adapter after training and its merged weights are kept too.
# `bone` is left out: bone_ragged is the same code with a harder shape, miss the same function under its other name.
PART = {
    "llama-gqa": {"rslora": "", "dora": "merged", "olora": "", "bone_ragged": "merged", "miss": "",
                  "miss_mini": "merged", "lora_qv_pattern": "merged"},
    "llama3-rope-tied": {"bat": "merged"},
    "llama-bias-headdim": {"lora": "merged"},
    "llama-linear-rope": {"pissa": ""},
}
MERGED = {"miss_mini": ("q_proj", "o_proj")}


def read(path):
    """The metadata and {name: (entry, bytes)} of a safetensors file."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__", None)
    return metadata, {name: (entry, content[start:][slice(*entry["data_offsets"])]) for name, entry in header.items()}


def write(path, metadata, tensors):
    header, at = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, (entry, data) in tensors.items():
        header[name] = {**entry, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def copy_some(source, target, keep):
    metadata, tensors = read(source)
    tensors = dict(sorted(tensors.items(), key=lambda item: item[1][0]["data_offsets"]))
    write(target, metadata, {name: tensor for name, tensor in tensors.items() if keep(name, *tensor)})


def copy_method(source, target, method, merged, base_logits):
    target.mkdir()
    names = ["train.json", "adapter_before", "trainable_before.safetensors"]
    if merged:
        names += ["adapter_after", "trainable_after.safetensors"]
        kept = MERGED.get(method, ("q_proj", "v_proj"))
        copy_some(source / "merged_layer0.safetensors", target / "merged_layer0.safetensors",
                  lambda name, *_: name.split(".")[-2] in kept)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, copy_function=shutil.copyfile)
        elif (source / name).exists():
            shutil.copyfile(source / name, target / name)
    copy_some(source / "expected.safetensors", target / "expected.safetensors",
              lambda name, _, data: name != "logits_at_init" or data != base_logits)


def main(whole, here):
    index = {}
    for model, methods in PART.items():
        source, target = whole / model, here / model
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(source / "model", target / "model", copy_function=shutil.copyfile)
        for name in ("full.train.json", "train_batches.safetensors"):
            shutil.copyfile(source / name, target / name)
        copy_some(source / "full.safetensors", target / "full.safetensors",
                  lambda name, entry, _: not name.startswith("grad.") or len(entry["shape"]) == 1)
        base_logits = read(source / "full.safetensors")[1]["logits"][1]
        for method, merged in methods.items():
            copy_method(source / method, target / method, method, merged, base_logits)
        index[model] = ["full", *methods]
    (here / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
