#!/usr/bin/env python3
"""Trains the same model with Osteon and with PyTorch + transformers + peft, in turn, and prints their ratios.

usage: compare_torch.py [--shapes small,…] [--methods lora,…] [--dtypes f32,bf16] [--modes eager,compile] [--threads N]
                        [--rounds N] [--steps N] [--osteon PROGRAM] [--python PROGRAM] [--out FOLDER]

Both start from the same weights and, where the method draws any, the same fresh adapter, and see the same tokens; the
losses of all steps are compared too, so that the same work is timed. A round is one process of each, of --steps steps
of which the first is left out; what is printed is the median of all rounds' steps and the range of the rounds' ratios.
Memory is the process's highest resident set above the program when idle: for PyTorch from the moment the model stands,
for Osteon from its start. --python is an interpreter that has torch, transformers and peft."""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
LORA_KINDS = ["lora", "pissa", "dora"]
METHODS = ["full", *LORA_KINDS, "bone", "bat"]


def shape(hidden, intermediate, layers, heads, vocabulary, rows, columns, kv_heads=None, tied=False):
    config = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": kv_heads or heads, "vocab_size": vocabulary,
              "tie_word_embeddings": tied, "max_position_embeddings": 2048}
    return {"config": config, "rows": rows, "columns": columns}


SHAPES = {
    "nano": shape(256, 704, 4, 4, 512, 4, 256),
    "small": shape(512, 1408, 8, 8, 32000, 4, 256),
    "smol135": shape(576, 1536, 30, 9, 49152, 2, 256, kv_heads=3, tied=True),
    "tiny1b": shape(2048, 5632, 22, 32, 32000, 1, 512, kv_heads=4),
    "l7b-2layer": shape(4096, 11008, 2, 32, 32000, 1, 512),
}


def call(words):
    """The command's output and its highest resident set in bytes."""
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"compare_torch: exit status {process.returncode} of: {' '.join(map(str, words))}")
    return output, usage.ru_maxrss * 1024


def worker(options, *words):
    return call([options.python, "-W", "ignore", TOOLS / "torch_steps.py", *words])[0]


def make_input(options, name):
    """The random model of a shape and its tokens, made once."""
    chosen, folder = SHAPES[name], options.out / name
    if not (folder / "model/config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        worker(options, "create", folder / "model", json.dumps(chosen["config"]))
    batches = folder / f"batches-{options.steps}.safetensors"
    if not batches.exists():
        worker(options, "batches", batches, chosen["rows"], chosen["columns"], options.steps, chosen["config"]["vocab_size"])
    return folder / "model", batches


def rank_of(method):
    return 32 if method in LORA_KINDS else 64


def run_torch(options, paths, method, dtype, mode, adapter):
    words = ["train", *paths, method, "--rank", rank_of(method), "--dtype", dtype, "--threads", options.threads,
             "--rate", options.rate, "--adapter", adapter]
    flags = {"eager": [], "compile": ["--compile"], "checkpoint": ["--checkpoint"]}
    return json.loads(worker(options, *words, *flags[mode]))


def run_osteon(options, paths, shape_name, method, dtype, mode, adapter, idle):
    model, batches = paths
    folder = options.out / shape_name / f"osteon-{method}-{dtype}"
    # PiSSA's adapter belongs to a residual base: both sides make it from the same weights by the same decomposition.
    start = ["--adapter", adapter] if method in ("lora", "dora") else ["--method", method]
    rank = [] if method == "full" or "--adapter" in start else ["--rank", rank_of(method)]
    text, peak = call([options.osteon, "finetune", "--model", model, "--data", batches, *start, *rank, "--dtype", dtype,
                       "--threads", options.threads, "--steps", options.steps, "--batch-size", SHAPES[shape_name]["rows"],
                       "--seq-len", SHAPES[shape_name]["columns"], "--accumulate", 1, "--schedule",
                       "constant", "--lr", options.rate, "--clip-norm", 0, "--out", folder, "--quiet", "--json",
                       *(["--memory-policy", "checkpoint"] if mode == "checkpoint" else [])])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    summary = json.loads(text)
    return {"losses": [step["loss"] for step in steps], "seconds": [step["step_seconds"] for step in steps],
            "peak_bytes": peak - idle, "trainable": summary["trainable_parameters"],
            "allocator_bytes": summary["peak_bytes"]["total"], "weights_bytes": summary["peak_bytes"]["weights"]}


def compared(torch_seconds, own_seconds, ratios, torch_peaks, own_peaks):
    """What every table says of both sides: typical seconds of a step, the rounds' ratios, peaks of memory."""
    torch_peak, own_peak = statistics.median(torch_peaks), statistics.median(own_peaks)
    return {"torch_seconds": statistics.median(torch_seconds), "osteon_seconds": statistics.median(own_seconds),
            "speedup": statistics.median(ratios), "speedup_range": [min(ratios), max(ratios)],
            "torch_peak_bytes": torch_peak, "osteon_peak_bytes": own_peak, "memory_ratio": own_peak / torch_peak,
            "rounds": len(ratios)}


def summarise(rounds):
    """One table row's figures from [(torch, osteon), …]: medians over all steps but each round's first, the range of the
    rounds' ratios, and the largest relative difference of the losses."""
    def steady(side):
        return [second for pair in rounds for second in pair[side]["seconds"][1:]]

    ratios = [statistics.median(a["seconds"][1:]) / statistics.median(b["seconds"][1:]) for a, b in rounds]
    differences = [abs(x - y) / abs(x) for a, b in rounds for x, y in zip(a["losses"], b["losses"])]
    figures = compared(steady(0), steady(1), ratios, [a["peak_bytes"] for a, _ in rounds], [b["peak_bytes"] for _, b in rounds])
    weights = rounds[0][1]["weights_bytes"]
    without_weights = (figures["osteon_peak_bytes"] - weights) / (figures["torch_peak_bytes"] - weights)
    return {**figures, "memory_ratio_without_weights": without_weights, "loss_difference": max(differences)}


HEADER = ("| shape | dtype | method | PyTorch | s a step | Osteon s | faster (range) | PyTorch MiB | Osteon MiB | ratio | "
          "without weights | losses differ by |\n|---|---|---|---|---|---|---|---|---|---|---|---|")


def row(shape_name, dtype, method, mode, figures):
    low, high = figures["speedup_range"]
    return (f"| {shape_name} | {dtype} | {method} | {mode} | {figures['torch_seconds']:.3f} | {figures['osteon_seconds']:.3f} | "
            f"{figures['speedup']:.2f}x ({low:.2f} to {high:.2f}) | {figures['torch_peak_bytes'] / 2**20:.0f} | "
            f"{figures['osteon_peak_bytes'] / 2**20:.0f} | {figures['memory_ratio']:.2f} | "
            f"{figures['memory_ratio_without_weights']:.2f} | {figures['loss_difference']:.1e} |")


def names(text, known, option, program="compare_torch"):
    chosen = text.split(",")
    for name in chosen:
        if name not in known:
            raise SystemExit(f"{program}: {option}: expected some of {', '.join(known)}, found '{name}'")
    return chosen


def checked_choices(options, shapes, modes, program):
    """The lists of --shapes, --methods, --dtypes and --modes; ends the program where an option or PyTorch is missing."""
    known = {"shapes": shapes, "methods": METHODS, "dtypes": ["f32", "bf16"], "modes": modes}
    chosen = [names(getattr(options, option), values, f"--{option}", program) for option, values in known.items()]
    if options.steps < 2 or options.rounds < 1:
        raise SystemExit(f"{program}: expected --steps of at least 2 and --rounds of at least 1")
    if subprocess.run([options.python, "-c", "import torch, transformers, peft"], capture_output=True, check=False).returncode:
        raise SystemExit(f"{program}: {options.python} has no torch, transformers and peft; make a virtual environment, "
                         "pip install torch transformers==4.56.2 peft==0.17.1, and give its python as --python")
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="small")
    parser.add_argument("--methods", default="lora,pissa,dora,bone,bat,full")
    parser.add_argument("--dtypes", default="f32")
    parser.add_argument("--modes", default="eager", help="eager, compile, checkpoint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--osteon", default="build/experiments/osteon")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=Path("runs/compare-torch"))
    options = parser.parse_args()
    shapes, methods, dtypes, modes = checked_choices(options, SHAPES, ["eager", "compile", "checkpoint"], "compare_torch")

    _, idle = call([options.osteon, "--version"])
    results = []
    print(HEADER)
    for name in shapes:
        paths = make_input(options, name)
        for dtype in dtypes:
            for method in methods:
                for mode in modes:
                    adapter = options.out / name / f"adapter-{method}-{dtype}"
                    rounds = [(run_torch(options, paths, method, dtype, mode, adapter),
                               run_osteon(options, paths, name, method, dtype, mode, adapter, idle))
                              for _ in range(options.rounds)]
                    figures = summarise(rounds)
                    results.append({"shape": name, "dtype": dtype, "method": method, "mode": mode, **figures,
                                    "versions": rounds[0][0]["versions"], "raw": rounds})
                    print(row(name, dtype, method, mode, figures), flush=True)
                    (options.out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
