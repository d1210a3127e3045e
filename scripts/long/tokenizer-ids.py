"""The side of scripts/long/tokenizer-ids that Python computes.

    tokenizer-ids.py IDS FOLDER      a row for each tokenizer: name, entries, lines, ids, lines that differ
"""

import collections
import json
import pathlib
import subprocess
import sys
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/golden"))

import twenty_scripts
import sentencepiece
import transformers
from tokenizers import Tokenizer

LINES, SIZE = 100, 6000


def of_sentencepiece(folder, corpus):
    """XLM-R's: a Unigram model of sentencepiece with its own normalisation, as `transformers` converts it."""
    folder.mkdir(parents=True)
    text = folder / "corpus.txt"
    # There must be more pieces than letters.
    letters = collections.Counter(letter for line in corpus for letter in unicodedata.normalize("NFKC", line))
    known = {letter for letter, _ in letters.most_common(SIZE // 3)}
    lines = ("".join(letter for letter in unicodedata.normalize("NFKC", line) if letter in known) for line in corpus)
    text.write_text("".join(" ".join(line.split()) + "\n" for line in lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "sentencepiece"),
        vocab_size=SIZE,
        model_type="unigram",
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    text.unlink()
    tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder, vocab_file=str(folder / "sentencepiece.model"))
    tokenizer._tokenizer.save(str(folder / "tokenizer.json"))


def main():
    transformers.logging.set_verbosity_error()
    program, root = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]) / "made"
    texts = twenty_scripts.lines(LINES)
    twenty_scripts.make(root, texts, SIZE)
    of_sentencepiece(root / "sentencepiece", texts)
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    minilm = ROOT / "data/minilm"
    if (minilm / "tokenizer.json").exists():
        folders.append(minilm)
    wrong = 0
    for folder in folders:
        expected = twenty_scripts.ids(folder, texts)
        answer = subprocess.run([program, folder], input=json.dumps(texts), capture_output=True, text=True, check=True)
        found = [whole for _, whole in json.loads(answer.stdout)]
        differ = [index for index, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
        wrong += len(differ)
        for index in differ[:3]:
            print(f"{folder.name}: {texts[index]!r}\n  {found[index]}\n  {expected[index]}", file=sys.stderr)
        if (folder / "vocab.txt").exists() and not (folder / "tokenizer.json").exists():
            entries = len((folder / "vocab.txt").read_text().splitlines())
        else:
            entries = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
        print(folder.name, entries, len(texts), sum(map(len, expected)), len(differ), sep="\t", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
