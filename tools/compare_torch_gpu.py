#!/usr/bin/env python3
"""Trains models of the same shapes with Osteon's bench_step and with PyTorch + transformers + peft on one GPU, in turn,
and prints their ratios and the share of the GPU's own bf16 products that a step reaches.

usage: compare_torch_gpu.py [--shapes tiny1b,…] [--methods lora,…] [--dtypes bf16] [--modes eager,compile]
                            [--batch 4x1024] [--rounds N] [--steps N] [--bench FOLDER] [--python PROGRAM] [--out FOLDER]

Weights and tokens are random, at the same shapes; that the same numbers come out is for the tests to show. A round is
one process of each. Times are medians over the rounds, memory is what each side's allocator gave out at most during the
steps, weights included. --bench is the folder of bench_step and bench_machine, --python an interpreter that has torch,
transformers and peft."""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from compare_torch import SHAPES, TOOLS, checked_choices, compared, rank_of, shape

SHAPES = {**SHAPES, "l7b": shape(4096, 11008, 32, 32, 32000, 1, 512)}


def output_of(words):
    process = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode != 0:
        raise SystemExit(f"compare_torch_gpu: exit status {process.returncode} of: {' '.join(map(str, words))}")
    return process.stdout


def benchmark(options, program, pattern, *words):
    """The first result that the pattern names; its error, if it was skipped, ends the comparison."""
    report = json.loads(output_of([options.bench / program, "--device=cuda", f"--benchmark_filter={pattern}",
                                   "--benchmark_format=json", *words]))
    [result] = report["benchmarks"]
    if result.get("error_occurred"):
        raise SystemExit(f"compare_torch_gpu: {result['name']}: {result['error_message']}")
    return result


def run_torch(options, name, method, dtype, mode):
    rows, columns = options.batch.split("x")
    words = ["gpu", json.dumps(SHAPES[name]["config"]), rows, columns, options.steps, method, "--rank", rank_of(method),
             "--dtype", dtype, *(["--compile"] if mode == "compile" else [])]
    return json.loads(output_of([options.python, "-W", "ignore", TOOLS / "torch_steps.py", *words]))


def run_osteon(options, name, method, dtype):
    return benchmark(options, "bench_step", f"^step/{name}/{method}/{dtype}/", f"--batches={options.batch}")


def summarise(rounds, best_flops):
    """One row's figures from [(torch, osteon), …] and the FLOP/s of the GPU's products by themselves."""
    torch_seconds = [statistics.median(torch["seconds"][1:]) for torch, _ in rounds]
    own_seconds = [own["step_seconds"] for _, own in rounds]
    ratios = [a / b for a, b in zip(torch_seconds, own_seconds)]
    figures = compared(torch_seconds, own_seconds, ratios, [torch["peak_bytes"] for torch, _ in rounds],
                       [own["peak_bytes"] for _, own in rounds])
    flops = statistics.median(own["GFLOP"] for _, own in rounds) * 1e9
    return {**figures, "share_of_products": flops / figures["osteon_seconds"] / best_flops}


HEADER = ("| shape | dtype | method | PyTorch | s a step | Osteon s | faster (range) | PyTorch MiB | Osteon MiB | ratio | "
          "of the products' rate |\n|---|---|---|---|---|---|---|---|---|---|---|")


def row(name, dtype, method, mode, figures):
    low, high = figures["speedup_range"]
    return (f"| {name} | {dtype} | {method} | {mode} | {figures['torch_seconds']:.4f} | {figures['osteon_seconds']:.4f} | "
            f"{figures['speedup']:.2f}x ({low:.2f} to {high:.2f}) | {figures['torch_peak_bytes'] / 2**20:.0f} | "
            f"{figures['osteon_peak_bytes'] / 2**20:.0f} | {figures['memory_ratio']:.2f} | "
            f"{figures['share_of_products']:.0%} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="tiny1b")
    parser.add_argument("--methods", default="lora,bone,bat")
    parser.add_argument("--dtypes", default="bf16")
    parser.add_argument("--modes", default="eager", help="eager, compile")
    parser.add_argument("--batch", default="4x1024", help="rows x tokens of each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--bench", type=Path, default=Path("build/bench"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=Path("runs/compare-torch-gpu"))
    options = parser.parse_args()
    shapes, methods, dtypes, modes = checked_choices(options, SHAPES, ["eager", "compile"], "compare_torch_gpu")

    options.out.mkdir(parents=True, exist_ok=True)
    best = {dtype: benchmark(options, "bench_machine", f"^BM_gemm/{dtype}/8192/")["FLOP"] for dtype in dtypes}
    results = []
    print(HEADER)
    for name in shapes:
        for dtype in dtypes:
            for method in methods:
                for mode in modes:
                    rounds = [(run_torch(options, name, method, dtype, mode), run_osteon(options, name, method, dtype))
                              for _ in range(options.rounds)]
                    figures = summarise(rounds, best[dtype])
                    results.append({"shape": name, "dtype": dtype, "method": method, "mode": mode, "batch": options.batch,
                                    **figures, "raw": rounds})
                    print(row(name, dtype, method, mode, figures), flush=True)
                    (options.out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
