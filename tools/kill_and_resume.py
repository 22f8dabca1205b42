#!/usr/bin/env python3
"""Kills a sweep at random times and resumes it until N kills have hit; each time a sweep ends, its final table must be that
of a sweep that was never stopped, bit for bit: scores, losses, batch hashes, every line of metrics and the adapters' bytes.
What is killed alternates: the whole process group (a machine that goes down), ablate alone, one run alone, or a polite
SIGTERM. usage: kill_and_resume.py N [--seed S] [--keep FOLDER]; OSTEON names the program."""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OSTEON = os.path.abspath(os.environ.get("OSTEON", ROOT / "build/experiments/osteon"))
SUITE = """question = "Does a sweep that was killed end as one that was not?"
seeds = [1, 2]
[base]
model = "synthetic:tiny"
data = "down"
steps = 40
save_every = 7
eval_every = 20
batch_size = 4
accumulate = 1
eval_size = 16
dropout = 0.1
[axes]
method = ["lora", "bone"]
[for.method.lora]
rank = 4
[for.method.bone]
rank = 8
[sweep]
lr = [3e-3, 1e-2]
seed = 100
"""
KINDS = ["group", "ablate", "run", "term"]


def start(suite, out):
    return subprocess.Popen([OSTEON, "ablate", suite, "--out", out, "--quiet", "--jobs", "2"], cwd=ROOT, start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, OMP_WAIT_POLICY="passive"))


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(process, kind):
    """True where something was alive to be hit."""
    try:
        if kind == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif kind == "ablate":
            process.kill()
        elif kind == "term":
            process.terminate()
        else:
            runs = children(process.pid)
            if not runs:
                return False
            os.kill(random.choice(runs), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def table(out):
    """All that a sweep's reported result says, times left out."""
    rows = {}
    for file in sorted([*out.glob("sweep/*/summary.json"), *out.glob("final/*/summary.json")]):
        summary = json.loads(file.read_text())
        row = {key: summary.get(key) for key in ["completed", "error", "purpose", "lr", "steps", "tokens", "final_train_loss",
                                                 "evaluation", "items", "batch_hash", "config_hash", "data_hash"]}
        row["metrics"] = [dict(json.loads(line), step_seconds=0) for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
        adapter = file.parent / "adapter/adapter_model.safetensors"
        row["adapter"] = adapter.read_bytes().hex() if adapter.exists() else None
        rows[f"{file.parent.parent.name}/{file.parent.name}"] = row
    return rows


def differences(whole, resumed):
    found = [f"{name}: missing" for name in whole if name not in resumed] + [f"{name}: too many" for name in resumed if name not in whole]
    return found + [f"{name}: {key} differs" for name in whole if name in resumed for key in whole[name]
                    if whole[name][key] != resumed[name][key]]


def run_to_the_end(suite, out):
    """Until nothing is left to do: a run that was killed by itself has failed, and is run again by the next call."""
    for _ in range(5):
        if start(suite, out).wait(timeout=600) == 0:
            return
    sys.exit(f"{out}: the sweep did not end in five calls")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the sweeps; a temporary one by default")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="osteon-kill-"))
    folder.mkdir(parents=True, exist_ok=True)
    suite, whole_out, out = folder / "kill.toml", folder / "whole", folder / "killed"
    suite.write_text(SUITE)
    for old in [whole_out, out]:
        shutil.rmtree(old, ignore_errors=True)
    began = time.monotonic()
    run_to_the_end(suite, whole_out)
    seconds = time.monotonic() - began
    whole = table(whole_out)
    if len(whole) != 8:
        sys.exit(f"{whole_out}: expected 8 runs, got {len(whole)}")
    hits, sweeps, counts = 0, 0, dict.fromkeys(KINDS, 0)
    while hits < arguments.kills:
        shutil.rmtree(out, ignore_errors=True)
        done = False
        while not done and hits < arguments.kills:
            process = start(suite, out)
            kind = KINDS[hits % len(KINDS)]
            try:
                done = process.wait(timeout=random.uniform(0, seconds)) == 0
            except subprocess.TimeoutExpired:
                if kill(process, kind):
                    hits += 1
                    counts[kind] += 1
                done = process.wait(timeout=600) == 0
        run_to_the_end(suite, out)
        sweeps += 1
        if wrong := differences(whole, table(out)):
            sys.exit(f"after {hits} kills: " + "; ".join(wrong))
    if not arguments.keep:
        shutil.rmtree(folder)
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    print(f"{hits} kills ({kinds}) in {sweeps} sweeps of {len(whole)} runs, {seconds:.1f} s each: all tables equal, bit for bit")


if __name__ == "__main__":
    main()
