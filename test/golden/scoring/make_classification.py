#!/usr/bin/env python3
"""Reference values for experiments/scoring/classification: scikit-learn's and SciPy's answers.

    pip install numpy scipy==1.17.1 scikit-learn==1.9.1 && python3 make_classification.py > classification.json
"""
import json
import math
import sys
import warnings

import numpy
import scipy
import sklearn
from scipy import stats
from sklearn import metrics

warnings.filterwarnings("ignore")  # constant sides are asked for
random = numpy.random.default_rng(7)
two = random.integers(0, 2, 200)
three = random.integers(0, 3, 150)
LABELS = {
    "two classes": (numpy.where(random.random(200) < .7, two, 1 - two), two),
    "three classes": (numpy.where(random.random(150) < .6, three, random.integers(0, 3, 150)), three),
    "a rare class": ([0] * 40 + [1, 1, 0], [0] * 39 + [1, 1, 0, 1]),
    "all right": ([0, 1, 1, 0], [0, 1, 1, 0]),
    "all wrong": ([1, 0, 0, 1], [0, 1, 1, 0]),
    "constant predictions": ([1] * 6, [0, 1, 1, 0, 1, 0]),
    "constant predictions of 0": ([0] * 6, [0, 1, 1, 0, 1, 0]),
    "constant labels": ([0, 1, 1, 0], [1, 1, 1, 1]),
    "both constant": ([0, 0, 0], [0, 0, 0]),
    "a class that is not among the labels": ([2, 1, 0, 2], [0, 1, 0, 1]),
    "one item": ([1], [1]),
}
x = random.normal(size=60)
VALUES = {
    "correlated": (x, 2 * x + random.normal(size=60)),
    "ties": (random.integers(0, 6, 80) / 2, random.integers(0, 11, 80) / 2),
    "falling": ([1, 2, 3, 4], [9, 7, 3, 1]),
    "large offsets": (1e6 + x, 3 - 1e3 * x + random.normal(size=60)),
    "constant": ([2.5, 2.5, 2.5], [1, 2, 3]),
    "constant of no exact mean": ([0.1] * 10, list(range(10))),
}


def number(value):
    return None if math.isnan(value) else float(value)


def labels_case(p, t):
    p, t = list(map(int, p)), list(map(int, t))
    return {"predictions": p, "labels": t, "accuracy": float(metrics.accuracy_score(t, p)),
            "f1": float(metrics.f1_score(t, p, labels=[1], average="macro", zero_division=0)),
            "macro_f1": float(metrics.f1_score(t, p, average="macro", zero_division=0)),
            "matthews": float(metrics.matthews_corrcoef(t, p))}


def values_case(a, b):
    a, b = list(map(float, a)), list(map(float, b))
    return {"x": a, "y": b, "pearson": number(stats.pearsonr(a, b)[0]), "spearman": number(stats.spearmanr(a, b)[0])}


json.dump({"versions": {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
           "labels": {name: labels_case(*case) for name, case in LABELS.items()},
           "values": {name: values_case(*case) for name, case in VALUES.items()}}, sys.stdout, indent=None,
          separators=(",", ":"))
print()
