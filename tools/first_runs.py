#!/usr/bin/env python3
"""Fine-tunes a small real Llama on real text with five methods and prints docs/results/first-runs.md's tables.

usage: first_runs.py DATA [--osteon PROGRAM] [--out FOLDER] [--steps N] [--jobs N]

DATA holds stories260k/hf, e2e-nlg and plain-text. Every method gets the rank whose trainable parameters are nearest to
Bat's at rank 4, and the learning rate that a sweep on the validation piece, with a seed that is not reported, chose."""
import argparse
import json
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

METHODS = ["full", "lora", "pissa", "bone", "bat"]
RATES = ["1e-3", "3e-3", "1e-2", "3e-2"]
SEEDS = [1, 2, 3]
SWEEP_SEED = 100
PROMPTS = {"e2e": "name : Blue Spice | Type : coffee shop | area : city centre||", "shakespeare": "ROMEO:\n"}


def call(options, *words):
    command = [options.osteon, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def split(options):
    """Training, validation and test pieces of both texts; the test pieces are never seen before the end."""
    folder = options.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    e2e = (options.data / "e2e-nlg/valid.txt").read_text().splitlines(keepends=True)
    held_out = (options.data / "e2e-nlg/test.txt").read_text().splitlines(keepends=True)
    play = (options.data / "plain-text/tinyshakespeare.txt").read_text()
    pieces = {
        "e2e": ("".join(e2e[:-300]), "".join(e2e[-300:]), "".join(held_out[::9])),
        "shakespeare": (play[:-200000], play[-200000:-100000], play[-100000:]),
    }
    files = {}
    for task, texts in pieces.items():
        files[task] = [folder / f"{task}-{part}.txt" for part in ("train", "validation", "test")]
        for path, text in zip(files[task], texts):
            path.write_text(text)
    return files


def finetune(options, files, task, method, rank, rate, seed, sweep):
    train, validation, test = files[task]
    out = options.out / ("sweep" if sweep else "final") / f"{task}-{method}-lr{rate}-seed{seed}"
    words = ["finetune", "--model", options.data / "stories260k/hf", "--data", train, "--eval-data",
             validation if sweep else test, "--method", method, "--steps", options.steps, "--batch-size", 16, "--accumulate", 1,
             "--seq-len", 128, "--truncate", "--lr", rate, "--warmup-ratio", "0.05", "--seed", seed, "--threads", 1,
             "--eval-size", 400, "--out", out, "--quiet", "--json", "--name", out.name, "--purpose", "sweep" if sweep else "final"]
    words += ["--template", "e2e"] if task == "e2e" else ["--template", "text"]
    if rank:
        words += ["--rank", rank]
    return json.loads(call(options, *words))


def generation(options, task, run=None):
    words = ["generate", "--prompt", PROMPTS[task], "--max-new-tokens", 60]
    base = options.data / "stories260k/hf"
    if run is None:
        words += ["--model", base]
    elif (run / "model").exists():
        words += ["--model", run / "model"]
    else:
        words += ["--model", base, "--adapter", run / "adapter"]
    return call(options, *words).strip().replace("\n", " / ")


def table(options, task, rates, finals):
    base = finals["full"][0]["evaluation"]["before"]["loss"]
    rows = [f"### {task}: held-out loss of the base {base:.3f} nats a token", "",
            "| method | rank | trainable | rate | loss after, mean of 3 seeds (each) | step ms | peak MiB | without weights |",
            "|---|---|---|---|---|---|---|---|"]
    for method in METHODS:
        runs = finals[method]
        after = [run["evaluation"]["after"]["loss"] for run in runs]
        peak = runs[0]["peak_bytes"]
        rows.append(f"| {method} | {runs[0].get('rank') or ''} | {runs[0]['trainable_parameters']:,} | {rates[method]} | "
                    f"{statistics.mean(after):.4f} ({', '.join(f'{loss:.4f}' for loss in after)}) | "
                    f"{1000 * statistics.median(run['step_seconds']['median'] for run in runs):.0f} | "
                    f"{peak['total'] / 2**20:.1f} | {(peak['total'] - peak['weights']) / 2**20:.1f} |")
    rows += ["", f"Prompt `{PROMPTS[task].strip()}`, greedy, 60 tokens:", "", f"- base: {generation(options, task)}"]
    for method in METHODS:
        run = options.out / "final" / f"{task}-{method}-lr{rates[method]}-seed1"
        rows.append(f"- {method}: {generation(options, task, run)}")
    return "\n".join(rows) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--osteon", default="build/experiments/osteon")
    parser.add_argument("--out", type=Path, default=Path("runs/first-runs"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    files = split(options)
    base = options.data / "stories260k/hf"
    counted = json.loads(call(options, "plan", "--model", base, "--method", "bat", "--rank", 4, "--batch-size", 1, "--seq-len", 8,
                              "--json"))["trainable_parameters"]
    solved = json.loads(call(options, "plan", "--model", base, "--budget", counted, "--json"))
    ranks = {method: solved[method]["rank"] if method != "full" else None for method in METHODS}
    with ThreadPoolExecutor(options.jobs) as pool:
        for task in files:
            swept = {(method, rate): pool.submit(finetune, options, files, task, method, ranks[method], rate, SWEEP_SEED, True)
                     for method in METHODS for rate in RATES}
            rates = {method: min(RATES, key=lambda rate: swept[method, rate].result()["evaluation"]["after"]["loss"])
                     for method in METHODS}
            finals = {method: [pool.submit(finetune, options, files, task, method, ranks[method], rates[method], seed, False)
                               for seed in SEEDS] for method in METHODS}
            print(table(options, task, rates, {method: [run.result() for run in runs] for method, runs in finals.items()}))


if __name__ == "__main__":
    main()
