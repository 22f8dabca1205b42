#!/usr/bin/env python3
"""Measures how a step's time per token grows with layers and with sequence length, and draws it beside what the FLOP count
says: scaling.csv, scaling.gnuplot and scaling.svg in --out.

usage: scaling.py [--method bone] [--rank 64] [--layers 2,4,8,16] [--lengths 128,256,512,1024,2048] [--rounds 3] ...

One row of tokens a step, hidden 256, vocabulary 512, random weights. The curve "by FLOPs" is the FLOP count of each point at
the rate of the series' first, so a straight match means that nothing grows but the work."""
import argparse
import copy
import csv
import shutil
import statistics
import subprocess
from pathlib import Path

from compare_methods import make_input, train
from compare_torch import SHAPES

GNUPLOT = """set datafile separator ','
set terminal svg size 820,320 font 'sans,12' background rgb 'white'
set output '{folder}/scaling.svg'
set multiplot layout 1,2
set key left top
set grid ytics lc rgb '#dddddd'
set yrange [0:*]
set ylabel 'microseconds a token'
do for [series in "layers tokens"] {{
  set xlabel series eq 'layers' ? 'layers, {length} tokens' : 'tokens of a row, {layers} layers'
  set xtics 0, series eq 'layers' ? 4 : 512
  plot '{folder}/scaling.csv' using (strcol(1) eq series ? $2 : NaN):3 with linespoints pt 7 lw 2 lc rgb '#1f5fa8' title 'measured', \\
       '' using (strcol(1) eq series ? $2 : NaN):4 with lines lc rgb '#888888' title 'by FLOPs'
}}
"""


def shape_of(layers, length):
    shape = copy.deepcopy(SHAPES["nano"])
    shape["config"].update(num_hidden_layers=layers, max_position_embeddings=max(length, 2048))
    return {**shape, "rows": 1, "columns": length}


def measure(options, layers, length):
    """(seconds, FLOPs) a step, of the fastest round: what else the machine did can only add."""
    shape = shape_of(layers, length)
    model, text = make_input(options.out / f"layers-{layers}", shape)
    run = (options.method, options.rank, "save")
    profiles = [train(options, model, text, run, shape)["profile"] for _ in range(options.rounds)]
    flops = sum(part["flops"] for part in profiles[0]["parts"].values())
    return min(profile["step_seconds"] for profile in profiles), flops


def series(name, points):
    """CSV rows (series, x, microseconds a token, by FLOPs) of [(x, tokens, seconds, flops)]."""
    _, _, seconds, flops = points[0]
    rate = flops / seconds
    return [(name, x, each / tokens * 1e6, work / rate / tokens * 1e6) for x, tokens, each, work in points]


def main():
    def numbers(text):
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="bone")
    parser.add_argument("--rank", default="64")
    parser.add_argument("--layers", type=numbers, default=[2, 4, 8, 16])
    parser.add_argument("--lengths", type=numbers, default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--osteon", default="build/experiments/osteon")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"))
    options = parser.parse_args()
    length, layers = options.lengths[len(options.lengths) // 2], options.layers[len(options.layers) // 2]
    rows = series("layers", [(count, length, *measure(options, count, length)) for count in options.layers])
    rows += series("tokens", [(count, count, *measure(options, layers, count)) for count in options.lengths])
    with open(options.out / "scaling.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    for name, x, measured, expected in rows:
        print(f"{name:<8}{x:>6}{measured:>10.1f} us a token, by FLOPs {expected:.1f}")
    print(f"median of measured over expected: {statistics.median(row[2] / row[3] for row in rows):.2f}")
    script = options.out / "scaling.gnuplot"
    script.write_text(GNUPLOT.format(folder=options.out, length=length, layers=layers))
    if shutil.which("gnuplot"):
        subprocess.run(["gnuplot", script], check=True)
    else:
        print("scaling: no figure: gnuplot was not found; the script is", script)


if __name__ == "__main__":
    main()
