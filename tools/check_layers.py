#!/usr/bin/env python3
"""Checks that includes go down the layers only, and prints the lines of code of each folder.

    backends <- autograd <- nn <- peft <- experiments      (bench and test may include all of them)

Usage: check_layers.py [ROOT]      ROOT: the repository (by default the one this file is in)
Exit status: 0 all includes fit, 1 some do not (each is printed as file:line: why).
"""
import pathlib
import re
import sys

LAYERS = ["backends", "autograd", "nn", "peft", "experiments"]
OUTSIDE = ["bench", "test"]
SUFFIXES = {".hpp", ".h", ".cpp", ".cu", ".cuh", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def sources(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file())


def fault(path, quote, included):
    """Why `path` (relative to the root) must not include `included`, or None. `quote` is `"` or `<`."""
    layer, target = path.parts[0], included.split("/")[0]
    if target in LAYERS:
        if layer in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
            return f"{layer} must not include {target}, which is a layer above it"
        if layer in LAYERS[1:] and included.startswith(("backends/cpu/", "backends/cuda/")):
            return "of product code only backends may include the parts of one device"
    elif target in OUTSIDE:
        if layer in LAYERS:
            return f"{layer} is product code and must not include {target}"
    elif quote == '"':
        return "own headers are included by their path from the root, others with <>"
    return None


def check(root):
    """All faults under `root` as "file:line: why", and {folder: (files, lines)}."""
    faults, sizes = [], {}
    for folder in LAYERS + OUTSIDE:
        files = sources(root / folder)
        lines = 0
        for file in files:
            path = file.relative_to(root)
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                lines += 1
                if match := INCLUDE.match(line):
                    if why := fault(path, *match.groups()):
                        faults.append(f'{path}:{number}: includes "{match[2]}": {why}')
        sizes[folder] = (len(files), lines)
    return faults, sizes


def main(arguments):
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parent.parent).resolve()
    faults, sizes = check(root)
    if not any(files for files, _ in sizes.values()):
        print(f"{root}: expected sources in {', '.join(LAYERS)}, found none", file=sys.stderr)
        return 1
    for folder, (files, lines) in sizes.items():
        print(f"{folder:12} {files:4} files {lines:6} lines")
    print(f"{'all':12} {sum(f for f, _ in sizes.values()):4} files {sum(n for _, n in sizes.values()):6} lines")
    for line in faults:
        print(line, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
