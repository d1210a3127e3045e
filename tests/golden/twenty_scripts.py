"""Writes `twenty_scripts/`: tokenizers of each kind, lines in twenty scripts, and the ids that Python gives for them.

    python tests/golden/twenty_scripts.py

Needs tokenizers and transformers. Each folder holds a `tokenizer.json` or `vocab.txt`, perhaps with a `tokenizer_config.json`
that overrules it; `lines.json` is a list of texts, and `ids.json` has for each folder the ids of each, special tokens
included. `scripts/long/tokenizer-ids` compares many more lines in the same way.
"""

import collections
import json
import random
import shutil
import unicodedata
from pathlib import Path

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
FOLDER = HERE / "twenty_scripts"
BERTS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTAS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

# A script, where its letters, marks and digits lie, and the languages of `languages.json` that are written in it.
SCRIPTS = [
    ("Latin", [(0x41, 0x24F), (0x1E00, 0x1EFF)], "English Portuguese German Turkish Vietnamese Polish Finnish French"),
    ("Greek", [(0x370, 0x3FF), (0x1F00, 0x1FFF)], "Greek"),
    ("Cyrillic", [(0x400, 0x52F)], "Russian Ukrainian Belarusian Bulgarian Macedonian"),
    ("Georgian", [(0x10A0, 0x10FF)], "Georgian"),
    ("Armenian", [(0x530, 0x58F)], "Armenian"),
    ("Arabic", [(0x600, 0x6FF), (0xFB50, 0xFBFF)], "Arabic Persian Urdu"),
    ("Hebrew", [(0x590, 0x5FF)], "Hebrew"),
    ("Devanagari", [(0x900, 0x97F)], "Hindi"),
    ("Bengali", [(0x980, 0x9FF)], "Bengali"),
    ("Gujarati", [(0xA80, 0xAFF)], ""),
    ("Tamil", [(0xB80, 0xBFF)], "Tamil"),
    ("Telugu", [(0xC00, 0xC7F)], ""),
    ("Sinhala", [(0xD80, 0xDFF)], "Sinhala"),
    ("Thai", [(0xE00, 0xE7F)], "Thai"),
    ("Lao", [(0xE80, 0xEFF)], "Lao"),
    ("Burmese", [(0x1000, 0x109F)], "Burmese"),
    ("Khmer", [(0x1780, 0x17FF)], "Khmer"),
    ("Ethiopic", [(0x1200, 0x137F)], "Amharic"),
    ("Korean", [(0xAC00, 0xD7A3), (0x1100, 0x11FF)], "Korean"),
    ("Han and kana", [(0x4E00, 0x9FFF), (0x3041, 0x30FF), (0xFF01, 0xFF9F), (0x20000, 0x2A6DF)], "Japanese Chinese"),
]
BETWEEN = [" ", " ", " ", " ", " ", "  ", "\u00a0", "\u3000", "\t", "-", "_", "'", "\u2019", "/", "\u200d", "\u200c", "\u00ad"]
BEHIND = ["", "", "", ".", ",", "!", "?", "\u2026", "\u3002", "\u060c", "\u0964", ":", ";", ")", "\u201d", "%", "\u20ac"]
ODD = ["😀", "👍🏽", "👩‍👩‍👧", "🇧🇷", "3.14", "1,000", "¹½Ⅷ", "ﬁ", "™", "https://a.b/c?d=e", "C++", "x\u0301\u0323", "\ufeff", "\u202e", "\ufffd"]


def lines(count):
    """`count` lines of each script, script by script: words of sentences, words of random letters, and what stands between."""
    sentences = {row["language"]: row["text"] for row in json.loads((HERE / "languages.json").read_text())}
    drawn = random.Random(20)
    found = []
    for _, ranges, languages in SCRIPTS:
        words = [word for language in languages.split() for word in sentences[language].split()]
        letters = [
            chr(code)
            for first, last in ranges
            for code in range(first, last + 1)
            if unicodedata.category(chr(code))[0] in "LMN" and unicodedata.category(chr(code)) != "Cn"
        ]
        for _ in range(count):
            line = ""
            for _ in range(drawn.randint(1, 14)):
                kind = drawn.random()
                if kind < 0.6 and words:
                    word = drawn.choice(words)
                    word = drawn.choice([word, word, word.upper(), word.title(), unicodedata.normalize("NFD", word)])
                elif kind < 0.93:
                    word = "".join(drawn.choice(letters) for _ in range(drawn.randint(1, 9)))
                else:
                    word = drawn.choice(ODD)
                line += word + drawn.choice(BEHIND) + drawn.choice(BETWEEN)
            found.append(line)
    return found


def template(tokenizer, first, last):
    ids = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    return processors.TemplateProcessing(single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1", special_tokens=ids)


def word_piece(corpus, size, **cleaning):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**cleaning)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=BERTS, limit_alphabet=size // 2, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = template(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def unigram(corpus, size):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\t", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=ROBERTAS, unk_token="<unk>", show_progress=False)
    # There must be more pieces than letters: those of others are unknown.
    letters = collections.Counter("".join(unicodedata.normalize("NFKC", line) for line in corpus))
    known = {letter for letter, _ in letters.most_common(size // 2)}
    known = ["".join(letter for letter in unicodedata.normalize("NFKC", line) if letter in known) for line in corpus]
    tokenizer.train_from_iterator(known, trainer)
    tokenizer.post_processor = template(tokenizer, "<s>", "</s>")
    return tokenizer


def byte_level(corpus, size):
    """As RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=ROBERTAS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def modern(corpus, size):
    """As ModernBERT's: byte-level BPE with BERT's special tokens at its end, runs of spaces and names of what was left out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken("|||IP_ADDRESS|||", normalized=True)])
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in (3, 2)])
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True)])
    tokenizer.post_processor = template(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


# What a `tokenizer_config.json` may overrule of BERT's tokenizers.
SETTINGS = {
    "cased": dict(do_lower_case=False),
    "accents": dict(do_lower_case=True, strip_accents=False),
    "no_accents": dict(do_lower_case=False, strip_accents=True),
    "runs_of_han": dict(do_lower_case=True, tokenize_chinese_chars=False),
    "silent": dict(),
}


def save(folder, tokenizer):
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def vocabulary(folder, tokenizer, settings):
    """A folder of BERT's with `vocab.txt` alone."""
    folder.mkdir(parents=True)
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    (folder / "vocab.txt").write_text("".join(token + "\n" for token, _ in tokens))
    configure(folder, settings)


def configure(folder, settings):
    settings = dict(settings, tokenizer_class="BertTokenizer", model_max_length=512)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")


def make(root, corpus, size):
    """A folder for each kind under `root`."""
    shutil.rmtree(root, ignore_errors=True)
    uncased = word_piece(corpus, size)
    save(root / "word_piece", uncased)
    save(root / "word_piece_cased", word_piece(corpus, size, lowercase=False))
    save(root / "unigram", unigram(corpus, size))
    save(root / "byte_level", byte_level(corpus, size))
    save(root / "modern", modern(corpus, size))
    for name, settings in SETTINGS.items():
        save(root / f"overruled_{name}", uncased)
        configure(root / f"overruled_{name}", settings)
        vocabulary(root / f"vocabulary_{name}", uncased, settings)


def ids(folder, texts):
    """Where only a `tokenizer.json` says how, its own library is asked, else `transformers`."""
    if not (folder / "tokenizer_config.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return [tokenizer.encode(text).ids for text in texts]
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    return [tokenizer(text)["input_ids"] for text in texts]


def main():
    transformers.logging.set_verbosity_error()
    texts = lines(3)
    make(FOLDER, lines(5), 420)
    # Those that are overruled are the same file with a few other words beside it.
    for name in ("accents", "no_accents", "runs_of_han", "silent"):
        shutil.rmtree(FOLDER / f"vocabulary_{name}")
    (FOLDER / "lines.json").write_text(json.dumps(texts, ensure_ascii=True, indent=0) + "\n")
    found = {folder.name: ids(folder, texts) for folder in sorted(FOLDER.iterdir()) if folder.is_dir()}
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(rows, separators=(',', ':'))}" for name, rows in found.items())
    (FOLDER / "ids.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
