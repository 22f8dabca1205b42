#!/usr/bin/env python3
"""Breaks the CUDA kernels one place at a time and runs their tests on the emulated GPU: which faults go unnoticed?

Usage: mutate_cuda.py BUILD [FILE...]
  BUILD     a build folder with test_cuda_emulated built
  FILE      kernel files and headers of backends/cuda (by default all that mutants are known for)
In code for the device a barrier is left out, a bound is one more (`a < b` is `a < b + 1`), what is added is subtracted or
the other way round, or a product is twice what it was. All mutants of a file are compiled at once, each behind a switch.
Exit status 1 if one survives that is not said to be harmless: a line's bounds and barriers may be broken without changing
any result where it ends in `// mutant: why`, its sums or products in `// mutant sum: why` or `// mutant product: why`.
"""
import collections
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "backends/cuda"
# Headers have no tests of their own: the kernel files whose tests stand for them.
ATTENTION, WKV = ["attention", "attention_backward"], ["wkv6", "wkv7"]
USERS = {"attention_extents.hpp": ["attention_backward"], "attention_simt.hpp": ATTENTION,
         "attention_tensor_core.hpp": ATTENTION, "attention_tiles.hpp": ATTENTION, "block_chain.hpp": ["block_sum"],
         "column_chain.hpp": ["reduce"], "heads.hpp": ["group_norm"], "largest.hpp": ["reduce"],
         "map.hpp": ["elementwise", "blend"], "reduction.hpp": ["reduce"], "segments.hpp": ["group_norm"],
         "simt.hpp": [*ATTENTION, "cross_entropy", "embedding", "swiglu"], "tile_product.hpp": ["bat"], "wkv.hpp": WKV, "wkv_backward.hpp": WKV,
         "wkv_forward.hpp": WKV}
TESTS = {"attention_backward": "attention", "token_parts": "gemm"}  # of kernel files whose tests are called otherwise
HARMLESS = re.compile(r"// mutant( sum| product)?:")
SWITCH = "OSTEON_MUTANT"  # the environment variable that says which place is broken
# In front of a copy: what the broken places ask, by their numbers from 1.
HEADER = f"""#include <cstdlib>
inline const int broken_place = std::getenv("{SWITCH}") ? std::atoi(std::getenv("{SWITCH}")) : 0;
inline int one_if(int place) {{ return broken_place == place ? 1 : 0; }}
inline int minus_if(int place) {{ return broken_place == place ? -1 : 1; }}
inline int twice_if(int place) {{ return broken_place == place ? 2 : 1; }}
#line 1
"""
# What is broken: how the copy has it, and how a reader is told.
BARRIER = re.compile(r"^(?P<indent>\s*)(?P<call>__sync(threads|warp)\(.*\);)")
OPERATORS = {
    "bound": (re.compile(r"(?<=[\w)\]]) (?P<op><=?) (?=[\w(])"), " {op} one_if({place}) + ", " {op} 1 + "),
    "sum": (re.compile(r"(?<=[\w)\]}]) (?P<op>[+-]=?) (?=[\w(:])"), " {op} minus_if({place}) * ", " {op} -"),
    "product": (re.compile(r"(?<=[\w)\]}]) (?P<op>\*) (?=[\w(:])"), " {op} twice_if({place}) * ", " {op} 2 * "),
}
NEVER = ("template", "constexpr", "OSTEON_SHARED")  # lines that say what there is, before anything runs
STEP = re.compile(r"for \(.*;.*;.*$")  # a loop that goes the other way finds nothing out but how long a test may take
PROGRAM = "test/backends/cuda/test_cuda_emulated"
PATIENCE = 4  # a mutant that takes so many times as long, and 10 s, never ends


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


def places(text):
    """(line number from 1, kind, match) of all that may be broken in a file."""
    lines = text.splitlines()
    for number in device_lines(lines):
        code = lines[number].split("//")[0]
        if any(word in code for word in NEVER):
            continue
        said = HARMLESS.search(lines[number])
        harmless = () if not said else (said[1].strip(),) if said[1] else ("barrier", "bound")
        if (match := BARRIER.match(code)) and "barrier" not in harmless:
            yield number + 1, "barrier", match
        step = STEP.search(code)
        broken = [(match.start(), kind, match) for kind, (pattern, _, _) in OPERATORS.items() for match in pattern.finditer(code)]
        for _, kind, match in sorted(broken, key=lambda one: one[0]):
            if kind not in harmless and not (step and match["op"] in ("+=", "-=")):
                yield number + 1, kind, match


class Mutants:
    """All mutants of a file in one copy, but for those on the lines of `without`."""

    def __init__(self, text, without=()):
        self.places = [place for place in places(text) if place[0] not in without]
        self.lines = text.splitlines()

    def text(self):
        lines = list(self.lines)
        for place, (number, kind, match) in reversed(list(enumerate(self.places, 1))):  # what is on the right first
            line = lines[number - 1]
            if kind == "barrier":
                lines[number - 1] = f"{match['indent']}if (one_if({place}) == 0) {match['call']}"
            else:
                by = OPERATORS[kind][1].format(op=match["op"], place=place)
                lines[number - 1] = line[: match.start()] + by + line[match.end() :]
        return HEADER + "\n".join(lines) + "\n"

    def described(self):
        """(line number, kind, the line before, the line after) of every mutant, in the order of their numbers."""
        for number, kind, match in self.places:
            line = self.lines[number - 1]
            by = ";" if kind == "barrier" else OPERATORS[kind][2].format(op=match["op"])
            yield number, kind, line.strip(), (line[: match.start()] + by + line[match.end() :]).strip()


class Bench:
    """Compiles mutants and links them with everything else of the test program."""

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

    def compile(self, folder, file, kernels, text):
        """The object files that the copy is in; else the lines of it that do not compile."""
        copy = folder / "backends/cuda" / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
        targets = [str(folder / f"{kernel}.o") for kernel in kernels]
        for kernel, target in zip(kernels, targets):
            command = self.compile_command(kernel)
            command[command.index("-o") + 1] = target
            # Before all other folders, so that the copy is what `#include "backends/cuda/..."` finds.
            first = next(at for at, word in enumerate(command) if word.startswith("-I"))
            command = [*command[:first], f"-I{folder}", *command[first:], "-w", "-fdiagnostics-color=never"]
            said = subprocess.run(command, cwd=self.build, capture_output=True, text=True, check=False)
            if said.returncode != 0:
                at = re.escape(file.name) + r":(\d+):"
                wrong = re.findall(at + r"\d+: error", said.stderr) or re.findall(at, said.stderr)
                if not wrong:
                    raise SystemExit(f"mutate_cuda.py: {file.name}: {said.stderr}")
                return [], set(map(int, wrong))
        return targets, set()

    def program(self, folder, file, kernels, text):
        """The test program with all mutants of a file that compile, and these."""
        without = set()
        while True:
            mutants = Mutants(text, without)
            targets, wrong = self.compile(folder, file, kernels, mutants.text())
            if targets:
                break
            without |= wrong
        program = str(folder / "test")
        subprocess.run(self.link_command(targets, program), cwd=self.build, check=True, capture_output=True)
        return program, mutants


def found(program, kernels, place, seconds=None):
    """Whether a test fails, or goes on for more than so many seconds, with this place broken; 0 breaks none."""
    tests = ",".join(sorted({f"*/{TESTS.get(kernel, kernel)}_test.cpp" for kernel in kernels}))
    try:
        run = subprocess.run([program, f"-sf={tests}", "--abort-after=1"], capture_output=True, check=False,
                             env={**os.environ, SWITCH: str(place)}, timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    return run.returncode != 0


def main(arguments):
    bench = Bench(arguments[0])
    known = [*sorted(path.name for path in FOLDER.glob("*.cu")), *USERS]
    survivors = total = 0
    for name in map(lambda argument: pathlib.Path(argument).name, arguments[1:] or known):
        file = FOLDER / name
        kernels = USERS.get(name, [file.stem])
        counts = collections.Counter()
        with tempfile.TemporaryDirectory() as folder:
            program, mutants = bench.program(pathlib.Path(folder), file, kernels, file.read_text(encoding="utf-8"))
            start = time.monotonic()
            if found(program, kernels, 0):
                raise SystemExit(f"mutate_cuda.py: {name}: expected its tests to pass unbroken")
            patience = 10 + PATIENCE * (time.monotonic() - start)
            for place, (number, kind, before, after) in enumerate(mutants.described(), 1):
                counts[kind] += 1
                if not found(program, kernels, place, patience):
                    survivors += 1
                    print(f"{name}:{number}: survives: {before}  ->  {after}", flush=True)
        total += counts.total()
        print(f"{name}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}", flush=True)
    print(f"{total} mutants, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
