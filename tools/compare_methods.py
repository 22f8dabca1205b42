#!/usr/bin/env python3
"""Trains a few steps of one shape with several methods in turn and prints what a step costs each, and where: seconds by part
of the step, peak memory, saved bytes.

usage: compare_methods.py [--shape small] [--runs METHOD:RANK[:POLICY],...] [--dtype f32] [--rounds 3] ...

Random weights and text; only time and memory mean something. A round trains every run once, one after the other, so that a
machine whose speed drifts treats them alike; seconds are medians over the rounds, and the ratio to the first run is the
median of the rounds' ratios, with their range."""
import argparse
import json
import random
import statistics
import subprocess
from pathlib import Path

from compare_torch import SHAPES, names


def parse_run(text):
    """(method, rank, memory policy) of METHOD:RANK[:POLICY]; full has no rank."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not (parts[1].isdigit() or parts == ["full", ""]):
        raise SystemExit(f"compare_methods: --runs: expected METHOD:RANK or METHOD:RANK:POLICY, found '{text}'")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else "save"


def make_input(folder, shape):
    """A folder with the shape's config.json, and a text that is as good as another."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-5, **shape["config"]}
    (folder / "config.json").write_text(json.dumps(config))
    draw = random.Random(1)
    (folder / "text.txt").write_text("".join(draw.choice("abcdefgh \n") for _ in range(400_000)))
    return folder, folder / "text.txt"


def train(options, model, text, run, shape):
    """The JSON of one run: its profile, its peaks."""
    method, rank, policy = run
    command = [options.osteon, "pretrain", "--model", model, "--tokenizer", "byte", "--data", text, "--packing", "--seq-len",
               shape["columns"], "--batch-size", shape["rows"], "--accumulate", 1, "--method", method, "--dtype", options.dtype,
               "--memory-policy", policy, "--steps", options.steps, "--threads", options.threads, "--profile", "--quiet", "--json",
               *(["--rank", rank] if rank else [])]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"compare_methods: exit status {done.returncode} of: {' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def summarise(rounds):
    """Of [[summary of each run], ...]: each run's median seconds by part, and its ratio to the first run with its range."""
    rows = []
    for index in range(len(rounds[0])):
        own = [one[index]["profile"] for one in rounds]
        ratios = [one[index]["profile"]["step_seconds"] / one[0]["profile"]["step_seconds"] for one in rounds]
        first = rounds[0][index]
        rows.append({
            "seconds": statistics.median(profile["step_seconds"] for profile in own),
            "ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)],
            "parts": {name: statistics.median(profile["parts"][name]["seconds"] for profile in own) for name in own[0]["parts"]},
            "flops": {name: part["flops"] for name, part in own[0]["parts"].items()},
            "trainable": first["trainable_parameters"], "peak_bytes": first["peak_bytes"],
            "saved_bytes": sum(op["saved_bytes"] for op in own[0]["ops"])})
    return rows


def table(runs, rows):
    """Markdown: a column a run."""
    def line(label, cells):
        return f"| {label} | " + " | ".join(cells) + " |"

    titles = [f"{method} {rank} {policy}".replace("  ", " ") for method, rank, policy in runs]
    lines = [line("", titles), "|---|" + "--:|" * len(runs), line("trainable parameters", [str(row["trainable"]) for row in rows])]
    for category in ("activation", "optimizer", "total"):
        lines.append(line(f"peak MiB, {category}", [f"{row['peak_bytes'][category] / 2**20:.1f}" for row in rows]))
    lines.append(line("saved MiB", [f"{row['saved_bytes'] / 2**20:.1f}" for row in rows]))
    for part in rows[0]["parts"]:
        cells = []
        for row in rows:
            seconds, flops = row["parts"].get(part, 0), row["flops"].get(part, 0)
            cells.append(f"{seconds * 1e3:.1f}" + (f" ({flops / seconds * 1e-9:.0f} GFLOP/s)" if flops > 0 and seconds > 0 else ""))
        lines.append(line(f"ms, {part}", cells))
    lines.append(line("ms, the step", [f"{row['seconds'] * 1e3:.1f}" for row in rows]))
    lines.append(line("to the first, range of rounds",
                      [f"{row['ratio']:.3f} ({row['ratio_range'][0]:.3f} to {row['ratio_range'][1]:.3f})" for row in rows]))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="small")
    parser.add_argument("--runs", default="lora:35,bone:64,lora:35:recompute_cheap,bone:64:recompute_cheap")
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--osteon", default="build/experiments/osteon")
    parser.add_argument("--out", type=Path, default=Path("runs/compare-methods"))
    options = parser.parse_args()
    names(options.shape, SHAPES, "--shape", "compare_methods")
    if options.steps < 2 or options.rounds < 1:
        raise SystemExit("compare_methods: expected --steps of at least 2 and --rounds of at least 1")
    runs = [parse_run(text) for text in options.runs.split(",")]
    shape = SHAPES[options.shape]
    model, text = make_input(options.out / options.shape, shape)
    rounds = [[train(options, model, text, run, shape) for run in runs] for _ in range(options.rounds)]
    rows = summarise(rounds)
    (options.out / "results.json").write_text(json.dumps({"runs": runs, "rows": rows, "rounds": rounds}, indent=1))
    print(table(runs, rows))


if __name__ == "__main__":
    main()
