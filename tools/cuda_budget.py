#!/usr/bin/env python3
"""Holds what each CUDA kernel takes of the hardware to its budget, from what ptxas said when it was compiled.

Usage: cuda_budget.py LOG_FOLDER [--update]      LOG_FOLDER: where `ninja cuda` left its *.ptxas files
The budget is backends/cuda/budget.txt: for each kernel the most registers, spilled bytes and static shared bytes over
all its instances and architectures. --update writes what was found. Exit status 1: a kernel takes more than its budget,
has none, or is gone.
"""
import pathlib
import re
import subprocess
import sys

BUDGET = pathlib.Path(__file__).resolve().parent.parent / "backends/cuda/budget.txt"
HEADER = """# What the CUDA kernels may take: the highest over all instances and architectures. tools/cuda_budget.py checks it.
# kernel registers spilled_bytes shared_bytes
"""
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def kernel_names(symbols):
    """{mangled: name without namespaces, arguments and template parameters}"""
    plain = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    names = {}
    for symbol, signature in zip(symbols, plain.splitlines()):
        signature = signature.replace("(anonymous namespace)::", "")
        names[symbol] = re.search(r"(\w+)(?=[<(]|$)", re.sub(r"^(void )?(\w+::)*", "", signature))[1]
    return names


def usage(text):
    """[(mangled symbol, (registers, spilled bytes, shared bytes))] of each kernel and architecture in a log."""
    found, symbol, spilled = [], None, 0
    for line in text.splitlines():
        if match := ENTRY.search(line):
            symbol, spilled = match[1], 0
        elif match := SPILL.search(line):
            spilled = int(match[1]) + int(match[2])
        elif symbol and (match := USED.search(line)):
            shared = SHARED.search(line)
            found.append((symbol, (int(match[1]), spilled, int(shared[1]) if shared else 0)))
            symbol = None
    return found


def highest(logs):
    """{kernel: (registers, spilled bytes, shared bytes)}, each the highest of its instances."""
    found = [entry for log in logs for entry in usage(log)]
    names = kernel_names(sorted({symbol for symbol, _ in found}))
    kernels = {}
    for symbol, numbers in found:
        before = kernels.get(names[symbol], (0, 0, 0))
        kernels[names[symbol]] = tuple(map(max, before, numbers))
    return kernels


def read_budget(text):
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {row[0]: tuple(map(int, row[1:])) for row in rows}


def faults(kernels, budget):
    for name in sorted(kernels.keys() | budget.keys()):
        if name not in budget:
            yield f"{name}: has no budget"
        elif name not in kernels:
            yield f"{name}: has a budget, but is not compiled"
        else:
            for what, used, allowed in zip(("registers", "spilled bytes", "shared bytes"), kernels[name], budget[name]):
                if used > allowed:
                    yield f"{name}: {used} {what}, budget {allowed}"


def main(arguments):
    folder = pathlib.Path(arguments[0])
    kernels = highest([path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.ptxas"))])
    if not kernels:
        print(f"cuda_budget.py: expected kernels in {folder}/*.ptxas, found none", file=sys.stderr)
        return 1
    if "--update" in arguments:
        lines = [f"{name} {' '.join(map(str, numbers))}\n" for name, numbers in sorted(kernels.items())]
        BUDGET.write_text(HEADER + "".join(lines), encoding="utf-8")
        return 0
    found = list(faults(kernels, read_budget(BUDGET.read_text(encoding="utf-8"))))
    print("\n".join(found) if found else f"{len(kernels)} kernels are within their budgets")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
