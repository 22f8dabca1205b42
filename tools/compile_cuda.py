#!/usr/bin/env python3
"""Compiles one kernel file by nvcc for every architecture that the project supports, warnings as errors.

Usage: compile_cuda.py NVCC SOURCE OBJECT PTXAS_LOG DEPFILE [NVCC OPTION]...
PTXAS_LOG gets what ptxas says about each kernel (registers, spills, shared memory); tools/cuda_budget.py reads it.
"""
import pathlib
import subprocess
import sys

ARCHITECTURES = ["80", "90", "100", "120"]  # the last one also as PTX, for GPUs that are newer
ROOT = pathlib.Path(__file__).resolve().parent.parent


def command(nvcc, source, target, depfile, options):
    generate = []
    for arch in ARCHITECTURES:
        code = f"[sm_{arch},compute_{arch}]" if arch == ARCHITECTURES[-1] else f"sm_{arch}"
        generate += ["-gencode", f"arch=compute_{arch},code={code}"]
    # The project's constexpr functions (bf16, Philox) are used in kernels as they are.
    return [nvcc, "-std=c++20", "-O3", "--expt-relaxed-constexpr", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra",
            "-DOSTEON_CUDA", f"-I{ROOT}", "-Xptxas", "-v", *generate, *options, "-MD", "-MF", depfile, "-c", source, "-o", target]


def main(arguments):
    nvcc, source, target, log, depfile, *options = arguments
    run = subprocess.run(command(nvcc, source, target, depfile, options), capture_output=True, text=True, check=False)
    said = (run.stdout + run.stderr).splitlines(keepends=True)
    ours = [line for line in said if "info    :" in line or line.startswith(" ")]
    pathlib.Path(log).write_text("".join(ours), encoding="utf-8")
    sys.stderr.write("".join(line for line in said if run.returncode != 0 or line not in ours))
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
