#!/usr/bin/env python3
"""Breaks the CUDA kernels one place at a time and runs their tests on the emulated GPU: which faults go unnoticed?

Usage: mutate_cuda.py BUILD [FILE...]
  BUILD     a build folder with test_cuda_emulated built
  FILE      kernel files and headers of backends/cuda (by default all that mutants are known for)
A mutant is a copy of a file with one barrier removed, or one bound made one element wider (`a < b` becomes `a <= b`, in
code for the device). Exit status 1 if one survives that is not said to be harmless: a line that ends in
`// mutant: why` may be broken without changing any result.
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "backends/cuda"
# Headers have no tests of their own: the kernel files whose tests stand for them.
ATTENTION, WKV = ["attention", "attention_backward"], ["wkv6", "wkv7"]
USERS = {"attention_extents.hpp": ["attention_backward"], "attention_simt.hpp": ATTENTION,
         "attention_tensor_core.hpp": ATTENTION, "attention_tiles.hpp": ATTENTION, "block_chain.hpp": ["block_sum"],
         "column_chain.hpp": ["reduce"], "heads.hpp": ["group_norm"], "largest.hpp": ["reduce"],
         "map.hpp": ["elementwise", "blend"], "reduction.hpp": ["reduce"], "segments.hpp": ["group_norm"],
         "simt.hpp": ["swiglu"], "tile_product.hpp": ["bat"], "wkv.hpp": WKV, "wkv_backward.hpp": WKV,
         "wkv_forward.hpp": WKV}
TESTS = {"attention_backward": "attention", "token_parts": "gemm"}  # of kernel files whose tests are called otherwise
BARRIER = re.compile(r"^\s*__sync(threads|warp)\(.*\);")
BOUND = re.compile(r"(?<=[\w)\]]) < (?=[\w(])")
HARMLESS = "// mutant:"
PROGRAM = "test/backends/cuda/test_cuda_emulated"
TIMEOUT_SECONDS = 120  # a mutant that never ends


def device_lines(lines):
    """Indices of the lines inside functions for the device: from __global__ or __device__ to the closing brace."""
    inside, depth, opened = False, 0, False
    for number, line in enumerate(lines):
        code = line.split("//")[0]
        if not inside and re.search(r"__(global|device)__", code) and not code.lstrip().startswith("#"):
            inside, depth, opened = True, 0, False
        if inside:
            yield number
            depth += code.count("{") - code.count("}")
            opened |= "{" in code
            if (opened and depth <= 0) or (not opened and code.rstrip().endswith(";")):
                inside = False


def mutants(text):
    """(line number from 1, the line before, the line after) of every mutant of a file."""
    lines = text.splitlines()
    for number in device_lines(lines):
        line = lines[number]
        if HARMLESS in line:
            continue
        if BARRIER.match(line):
            yield number + 1, line, "  ;"
        code = line.split("//")[0]
        for match in BOUND.finditer(code):
            if "template" not in code and "constexpr" not in code:
                yield number + 1, line, line[: match.start()] + " <= " + line[match.end() :]


class Bench:
    """Compiles a mutant and links it with everything else of the test program."""

    def __init__(self, build):
        self.build = pathlib.Path(build).resolve()
        self.commands = json.loads((self.build / "compile_commands.json").read_text(encoding="utf-8"))

    def compile_command(self, kernel):
        for entry in self.commands:
            if entry["file"].endswith(f"emulated_{kernel}.cpp"):
                return shlex.split(entry["command"])
        raise SystemExit(f"mutate_cuda.py: {self.build} does not compile emulated_{kernel}.cpp")

    def link_command(self, mutants, program):
        """That of the test program, the mutants before the library with the files that they are copies of. The library's
        own come along where they have an inline function that a mutant lost: the first definition counts."""
        said = subprocess.run(["ninja", "-t", "commands", PROGRAM], cwd=self.build, capture_output=True, text=True, check=True)
        command = shlex.split(said.stdout.splitlines()[-1])
        output = command.index("-o")
        return [*command[: output + 1], program, "-Wl,--allow-multiple-definition", *mutants, *command[output + 2 :]]

    def outcome(self, file, kernels, text):
        """'does not compile', 'found' or 'survives'."""
        with tempfile.TemporaryDirectory() as folder:
            return self.outcome_in(pathlib.Path(folder), file, kernels, text)

    def outcome_in(self, folder, file, kernels, text):
        copy = folder / "backends/cuda" / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
        targets = [str(folder / f"{kernel}.o") for kernel in kernels]
        for kernel, target in zip(kernels, targets):
            command = self.compile_command(kernel)
            command[command.index("-o") + 1] = target
            # Before all other folders, so that the copy is what `#include "backends/cuda/..."` finds.
            first = next(at for at, word in enumerate(command) if word.startswith("-I"))
            command = [*command[:first], f"-I{folder}", *command[first:], "-Wno-error"]
            if subprocess.run(command, cwd=self.build, capture_output=True, check=False).returncode != 0:
                return "does not compile"
        program = str(folder / "test")
        subprocess.run(self.link_command(targets, program), cwd=self.build, check=True, capture_output=True)
        tests = ",".join(sorted({f"*/{TESTS.get(kernel, kernel)}_test.cpp" for kernel in kernels}))
        try:
            run = subprocess.run([program, f"-sf={tests}", "--abort-after=1"], capture_output=True,
                                 timeout=TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return "found"
        return "survives" if run.returncode == 0 else "found"


def main(arguments):
    bench = Bench(arguments[0])
    known = [*sorted(path.name for path in FOLDER.glob("*.cu")), *USERS]
    survivors = total = 0
    for name in map(lambda argument: pathlib.Path(argument).name, arguments[1:] or known):
        file = FOLDER / name
        kernels = USERS.get(name, [file.stem])
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        if (outcome := bench.outcome(file, kernels, text)) != "survives":
            raise SystemExit(f"mutate_cuda.py: {name}: expected its tests to pass unbroken, got: {outcome}")
        for number, before, after in mutants(text):
            outcome = bench.outcome(file, kernels, "".join([*lines[: number - 1], after + "\n", *lines[number:]]))
            total += 1
            survivors += outcome == "survives"
            print(f"{name}:{number}: {outcome}: {before.strip()}  ->  {after.strip()}", flush=True)
    print(f"{total} mutants, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
