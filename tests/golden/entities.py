"""Writes `entities.json` beside this script: entities in tagged words as `seqeval` counts them, in its default mode, and
scores of several labels per text by scikit-learn.

    python tests/golden/entities.py

Needs seqeval and scikit-learn.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from sklearn import metrics

warnings.simplefilter("ignore")

# True and predicted.
CASES = [
    ([["O", "B-PER", "I-PER", "O", "B-LOC"]], [["O", "B-PER", "I-PER", "O", "B-LOC"]]),
    # An I- without a B- begins an entity.
    ([["O", "I-PER", "I-PER", "O", "B-LOC"]], [["O", "B-PER", "I-PER", "O", "I-LOC"]]),
    ([["B-PER", "B-PER", "I-LOC", "I-PER"]], [["B-PER", "I-PER", "I-LOC", "B-LOC"]]),
    (
        [["O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]],
        [["O", "O", "O", "B-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]],
    ),
    (
        [["B-PER", "I-LOC", "O", "S-ORG", "E-ORG", "B-ORG", "E-ORG", "I-ORG"]],
        [["I-PER", "I-LOC", "I-LOC", "S-ORG", "S-ORG", "B-ORG", "I-ORG", "E-ORG"]],
    ),
    ([["O", "O"]], [["O", "O"]]),
    ([["O", "O"]], [["B-PER", "O"]]),
    # Texts end entities.
    ([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]]),
    ([["B-PER", "I-PER"]], [["I-PER", "I-PER"]]),
    # Labels of no such form.
    ([["NN", "VB", "VB", "O", "O", "NN"]], [["NN", "VB", "NN", "O", "X", "NN"]]),
    ([["B-a-b", "I-a-b", "B", "I", "-", "O"]], [["B-a-b", "I-a-c", "B", "I", "-", "O"]]),
    ([["B-PER", "O", "I-PER", "."]], [["B-PER", ".", "I-PER", "I-PER"]]),
    ([["L-PER", "U-PER", "B-PER", "L-PER"]], [["B-PER", "U-PER", "B-PER", "L-PER"]]),
]


def entities(true, predicted):
    report = classification_report(true, predicted, output_dict=True, zero_division=0) if get_entities(true) else {}
    kinds = {kind: row for kind, row in report.items() if not kind.endswith(" avg")}
    return {
        "true": true,
        "predicted": predicted,
        "entities": [[kind, first, last] for kind, first, last in get_entities(true[0])],
        "precision": float(precision_score(true, predicted, zero_division=0)),
        "recall": float(recall_score(true, predicted, zero_division=0)),
        "f1": float(f1_score(true, predicted, zero_division=0)),
        "accuracy": float(accuracy_score(true, predicted)),
        "kinds": {
            kind: [float(row["precision"]), float(row["recall"]), float(row["f1-score"]), int(row["support"])]
            for kind, row in kinds.items()
        },
    }


def random_case(random, tags, texts, right):
    true = [[str(tag) for tag in random.choice(tags, random.integers(1, 13))] for _ in range(texts)]
    other = lambda tag: tag if random.random() < right else str(random.choice(tags))
    return entities(true, [[other(tag) for tag in text] for text in true])


def label_sets(random, texts, labels):
    actual = random.random((texts, labels)) < 0.3
    predicted = np.where(random.random((texts, labels)) < 0.8, actual, random.random((texts, labels)) < 0.3)
    # A label that nobody has or gives.
    actual[:, 0] = predicted[:, 0] = False
    score = lambda average: float(metrics.f1_score(actual, predicted, average=average, zero_division=0))
    return {
        "predicted": [np.flatnonzero(row).tolist() for row in predicted],
        "actual": [np.flatnonzero(row).tolist() for row in actual],
        "labels": labels,
        "micro": score("micro"),
        "macro": score("macro"),
        "exact": float(metrics.accuracy_score(actual, predicted)),
    }


def main():
    random = np.random.default_rng(1)
    bio = ["O", "O", "O", "B-A", "I-A", "B-B", "I-B"]
    wild = ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "X", ".", "B", "U-A"]
    tables = [entities(*case) for case in CASES]
    tables += [random_case(random, tags, 60, right) for tags in (bio, wild) for right in (0.5, 0.9)]
    sets = [label_sets(random, 40, 6), label_sets(random, 1, 3), label_sets(random, 200, 2)]
    path = Path(__file__).parent / "entities.json"
    path.write_text(json.dumps({"words": tables, "labels": sets}) + "\n")
    print([round(table["f1"], 4) for table in tables], [table["micro"] for table in sets])


if __name__ == "__main__":
    main()
