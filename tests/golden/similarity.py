"""Writes `similarity.json`: pairs of texts of `sentences.json`, made-up scores, and how they correlate with the cosines of
`sentence_transformers/` by scipy.

    python tests/golden/similarity.py

Needs torch, scipy and sentence-transformers 6. Scores are halves from 0 to 5, so that many are equal, and some pairs come
twice, so that cosines are equal too.
"""

import json
import random
from pathlib import Path

import numpy
import torch
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer

HERE = Path(__file__).parent


def main():
    torch.set_num_threads(1)
    # Words alone, so that a table holds them as they are.
    texts = [text for text in json.loads((HERE / "sentences.json").read_text()) if text.isascii() and text.strip()]
    texts = [text for text in texts if not set(text) & set('"\t\n\r\\,') and text.isprintable()]
    draw = random.Random(5)
    pairs = [draw.sample(texts, 2) for _ in range(40)]
    pairs += pairs[:6]
    model = SentenceTransformer(str(HERE / "sentence_transformers"), device="cpu")
    vectors = [model.encode([text for text in side], batch_size=1, show_progress_bar=False) for side in zip(*pairs)]
    vectors = [side.astype(numpy.float64) for side in vectors]
    cosines = (vectors[0] * vectors[1]).sum(1)
    gaps = numpy.diff(numpy.unique(cosines))
    assert gaps.min() > 1e-5, "cosines that rounding might put in another order"
    scores = [round(2 * (2.5 * (cosine + 1) + draw.gauss(0, 1))) / 2 for cosine in cosines]
    result = {
        "rows": [[*pair, min(max(score, 0), 5)] for pair, score in zip(pairs, scores)],
    }
    actual = [row[2] for row in result["rows"]]
    result |= {"pearson": pearsonr(cosines, actual)[0], "spearman": spearmanr(cosines, actual)[0]}
    print(result["pearson"], result["spearman"], len(set(actual)), gaps.min())
    (HERE / "similarity.json").write_text(json.dumps(result, indent=0) + "\n")


if __name__ == "__main__":
    main()
