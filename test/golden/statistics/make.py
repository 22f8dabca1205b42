#!/usr/bin/env python3
"""Reference values for experiments/report/statistics: SciPy's and statsmodels' answers to the same questions.

    pip install numpy scipy statsmodels && python3 make.py > statistics.json
The accuracies of `tasks` are the reference table of the default ablation (5 methods x 3 seeds a task).
"""
import itertools
import json
import sys

import numpy as np
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
import pandas

TASKS = {
    "op": [[89.5, 89.5, 87.5], [74.5, 78.5, 74.5], [83, 73, 85], [80.5, 81.5, 81], [85.5, 82, 83.5]],
    "story2": [[88, 86.5, 79.5], [79, 77, 74], [71.5, 82.5, 72.5], [77.5, 76, 73.5], [78.5, 80.5, 73.5]],
    "flip": [[99.5, 100, 56.5], [54, 28.5, 50], [95.5, 89.5, 53], [59, 49.5, 45], [91.5, 73.5, 10]],
    "down": [[80, 84, 83], [69.5, 72.5, 65], [67.5, 71, 70.5], [80, 76.5, 77], [82, 80, 82]],
}


def task(rows):
    x = np.array(rows, float)
    k, n = x.shape
    f = stats.f_oneway(*x)
    frame = pandas.DataFrame([(i, j, x[i, j]) for i in range(k) for j in range(n)], columns=["method", "seed", "y"])
    block_f = AnovaRM(frame, "y", "seed", within=["method"]).fit().anova_table
    residual = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    degrees = (k - 1) * (n - 1)
    sd = np.sqrt((residual**2).sum() / degrees)
    # the residual that makes this F is the one statsmodels used
    assert np.isclose(block_f["F Value"].iloc[0], n * x.mean(1).var(ddof=1) / sd**2)
    pairs = []
    for i, j in itertools.combinations(range(k), 2):
        plain = stats.ttest_rel(x[i], x[j])
        difference = x[i].mean() - x[j].mean()
        pairs.append({
            "difference": difference, "t": plain.statistic, "p": plain.pvalue,
            "block_p": 2 * stats.t.sf(abs(difference) / (sd * np.sqrt(2 / n)), degrees),
            "cohen_d": difference / np.sqrt((x[i].var(ddof=1) + x[j].var(ddof=1)) / 2),
        })
    for pair, p in zip(pairs, multipletests([p["block_p"] for p in pairs], method="holm")[1]):
        pair["holm"] = p
    pooled = np.sqrt(x.var(1, ddof=1).mean())
    return {
        "values": rows,
        "mean": x.mean(1), "sd": x.std(1, ddof=1),
        "interval": [stats.t.interval(0.95, n - 1, r.mean(), stats.sem(r)) for r in x],
        "f": f.statistic, "f_p": f.pvalue, "pooled_sd": pooled,
        "within_threshold": stats.t.ppf(0.975, k * (n - 1)) * pooled * np.sqrt(2 / n),
        "residual_sd": sd, "block_threshold": stats.t.ppf(0.975, degrees) * sd * np.sqrt(2 / n),
        "bartlett": stats.bartlett(*x).pvalue, "pairs": pairs,
    }


def permutation(differences):
    d = np.array(differences, float)
    return stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue


def power(difference, sd, n, level=0.05):
    shift, critical = abs(difference) / sd * np.sqrt(n), stats.t.ppf(1 - level / 2, n - 1)
    return stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)


def needed(difference, sd, least):
    n = 2
    while power(difference, sd, n) < least:
        n += 1
    return {"difference": difference, "sd": sd, "power": least, "pairs": n, "statsmodels": TTestPower().solve_power(
        effect_size=difference / sd, alpha=0.05, power=least)}


def main():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 2, 60), (rng.random(60) < 0.7).astype(int)
    table = [[int(((a == i) & (b == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    sample = rng.normal(3, 2, 80).round(3)
    bootstrap = stats.bootstrap((sample,), np.mean, n_resamples=100000, method="percentile", random_state=1)
    signs = [rng.integers(-3, 4, 14).tolist(), [3, 2, 1, 1, 0, 2, -1, 3, 2], [1, -1], [0, 0, 0]]
    uneven = [[1.0, 2, 4], [3.5, 3, 9, 7], [0.5, 0.25]]
    out = {
        "versions": {"scipy": scipy.__version__, "statsmodels": statsmodels.__version__, "numpy": np.__version__},
        "tasks": {name: task(rows) for name, rows in TASKS.items()},
        "mcnemar": {"a": a, "b": b, "only_a": table[1][0], "only_b": table[0][1],
                    "p": mcnemar(table, exact=True).pvalue},
        "power": [{"difference": d, "sd": sd, "pairs": n, "power": power(d, sd, n)}
                  for d, sd, n in [(1, 1, 2), (1, 2, 3), (0.5, 1, 30), (-2, 3, 10), (0.1, 1, 500), (3, 1, 5)]],
        "pairs_needed": [needed(*each) for each in [(1, 1, 0.8), (0.2, 1, 0.8), (2.5, 1, 0.9), (0.05, 1, 0.8), (10, 1, 0.8)]],
        "permutation": [{"differences": d, "p": permutation(d)} for d in signs],
        "bootstrap": {"values": sample, "low": bootstrap.confidence_interval.low,
                      "high": bootstrap.confidence_interval.high},
        "uneven": {"groups": uneven, "f": stats.f_oneway(*uneven).statistic, "p": stats.f_oneway(*uneven).pvalue,
                   "bartlett": stats.bartlett(*uneven).pvalue},
        "holm": {"p": [0.01, 0.04, 0.03, 0.005, 0.9],
                 "corrected": multipletests([0.01, 0.04, 0.03, 0.005, 0.9], method="holm")[1]},
    }
    json.dump(out, sys.stdout, indent=1, default=lambda v: v.tolist() if hasattr(v, "tolist") else list(v))
    print()


main()
