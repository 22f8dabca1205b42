#!/usr/bin/env python3
"""Times the recurrences of RWKV-6 and RWKV-7 with bench_wkv and as a plain loop over tokens in PyTorch, in turn.

usage: compare_wkv.py [--bench PROGRAM] [--rounds N]

One sequence of 512 tokens, 8 heads of 64 channels, f32, one thread: what bench_wkv measures. The loops are those that
define the recurrences (docs/rwkv.md), one step of the whole state a token, differentiated by PyTorch's autograd. Printed
are medians of the rounds and the median of the rounds' ratios. It needs an interpreter that has torch."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOKENS, HEADS, HEAD = 512, 8, 64
BENCH = Path(__file__).resolve().parent.parent / "build/bench/bench_wkv"


def loop_6(torch, r, w, k, v, *_):
    state, y = torch.zeros(HEADS, HEAD, HEAD), []
    for t in range(TOKENS):
        y.append((r[t][:, None, :] @ state)[:, 0])
        state = w[t][:, :, None] * state + k[t][:, :, None] @ v[t][:, None, :]
    return torch.stack(y)


def loop_7(torch, r, w, k, v, a, b):
    state, y = torch.zeros(HEADS, HEAD, HEAD), []
    for t in range(TOKENS):
        state = (state * w[t][:, None, :] + (state @ a[t][:, :, None]) @ b[t][:, None, :]
                 + v[t][:, :, None] @ k[t][:, None, :])
        y.append((state @ r[t][:, :, None])[..., 0])
    return torch.stack(y)


def torch_seconds(torch, loop):
    """(forward, backward)"""
    drawn = [torch.randn(TOKENS, HEADS, HEAD) for _ in range(3)]
    key = torch.nn.functional.normalize(torch.randn(TOKENS, HEADS, HEAD), dim=-1)
    r, k, v, w, a, b = (x.requires_grad_() for x in (*drawn, torch.rand(TOKENS, HEADS, HEAD) * 0.4 + 0.55, -key,
                                                     key * torch.rand(TOKENS, HEADS, HEAD)))
    start = time.perf_counter()
    y = loop(torch, r, w, k, v, a, b)
    between = time.perf_counter()
    y.sum().backward()
    return between - start, time.perf_counter() - between


def own_seconds(bench, version):
    """(forward, backward), each the median of five."""
    text = subprocess.run([bench, f"--benchmark_filter=BM_wkv{version}(_backward)?/dtype:0", "--benchmark_format=json",
                           "--benchmark_repetitions=5", "--benchmark_report_aggregates_only=true"], check=True,
                          capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1")).stdout
    medians = [run["real_time"] * 1e-6 for run in json.loads(text)["benchmarks"] if run["aggregate_name"] == "median"]
    forward, backward = medians
    return forward, backward


def summarise(rounds):
    """[(name, own milliseconds, PyTorch's, how many times as fast)] of rounds of two pairs (forward, backward)."""
    rows = []
    for name, part in (("forward", lambda pair: pair[0]), ("backward", lambda pair: pair[1]), ("both", sum)):
        own, torchs = zip(*((part(mine), part(theirs)) for mine, theirs in rounds))
        rows.append((name, statistics.median(own) * 1e3, statistics.median(torchs) * 1e3,
                     statistics.median(theirs / mine for mine, theirs in zip(own, torchs))))
    return rows


def import_torch(parser):
    try:
        import torch
    except ImportError:
        parser.error(f"expected an interpreter that has torch, found {sys.executable}")
    return torch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=BENCH)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds: expected at least 1, found {options.rounds}")
    if not os.access(options.bench, os.X_OK):
        parser.error(f"--bench: expected a program, found none at {options.bench}; build it: ninja -C build bench/bench_wkv")
    torch = import_torch(parser)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for version, loop in ((6, loop_6), (7, loop_7)):
        torch_seconds(torch, loop)
        rounds = [(own_seconds(options.bench, version), torch_seconds(torch, loop)) for _ in range(options.rounds)]
        for name, own, theirs, ratio in summarise(rounds):
            print(f"wkv{version} {name:<9} {own:8.2f} ms   PyTorch {theirs:8.1f} ms   {ratio:6.0f} x")


if __name__ == "__main__":
    main()
