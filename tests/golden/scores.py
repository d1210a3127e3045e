"""Writes `scores.json` beside this script: measures of random predictions by scikit-learn and scipy.

    python tests/golden/scores.py

Where a library warns of an undefined value and gives NaN, the file has null.
"""

import json
import math
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

warnings.simplefilter("ignore")


def classes(predicted, actual):
    predicted, actual = [int(c) for c in predicted], [int(c) for c in actual]
    return {
        "predicted": predicted,
        "actual": actual,
        "accuracy": accuracy_score(actual, predicted),
        "f1": [f1_score(actual, predicted, labels=[c], average="macro", zero_division=0) for c in range(3)],
        "macro_f1": f1_score(actual, predicted, average="macro", zero_division=0),
        "matthews": matthews_corrcoef(actual, predicted),
    }


def numbers(x, y):
    finite = lambda value: None if math.isnan(value) else float(value)
    return {
        "x": [float(v) for v in x],
        "y": [float(v) for v in y],
        "pearson": finite(pearsonr(x, y)[0]),
        "spearman": finite(spearmanr(x, y)[0]),
    }


def main():
    random = np.random.default_rng(1)
    tables = [
        classes([0], [0]),
        classes([1, 1, 1], [0, 0, 0]),
        classes([0, 0, 0, 0], [0, 1, 0, 1]),
        classes([0, 1, 1, 0], [0, 1, 1, 0]),
        classes([1, 0, 0, 1], [0, 1, 1, 0]),
    ]
    for count, kinds in [(7, 2), (129, 2), (1000, 2), (64, 3), (501, 5)]:
        actual = random.integers(0, kinds, count)
        noise = random.integers(0, kinds, count)
        tables.append(classes(np.where(random.random(count) < 0.6, actual, noise), actual))
    # A rare class, as in CoLA and QQP.
    actual = (random.random(400) < 0.05).astype(int)
    tables.append(classes(np.where(random.random(400) < 0.9, actual, 1 - actual), actual))

    pairs = [
        numbers([1, 2], [3, 1]),
        numbers([1, 2, 3], [5, 5, 5]),
        numbers([1, 2, 3, 4], [1, 4, 9, 16]),
        numbers([1e6 + 1, 1e6 + 2, 1e6 + 4], [1, 2, 3]),
    ]
    for count in [5, 130, 1500]:
        x = random.normal(size=count)
        pairs.append(numbers(x, x + random.normal(size=count)))
        # Scores as in STS-B: many of them equal.
        pairs.append(numbers(np.round(5 * random.random(count)), np.round(10 * random.random(count)) / 2))
    path = Path(__file__).with_name("scores.json")
    path.write_text(json.dumps({"classes": tables, "numbers": pairs}) + "\n")


if __name__ == "__main__":
    main()
