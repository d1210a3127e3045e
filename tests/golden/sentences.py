"""Writes `sentences.json`, 200 varied texts, and what `sentence-transformers` makes of them.

    python tests/golden/sentences.py data/minilm

Needs torch and sentence-transformers 6. Beside the texts there are
    sentence_transformers/           a small random embedder with its own vocabulary, as a folder
    sentence_transformers.safetensors  vectors [200, C] of that folder (f32), of its mean pooling without the
                                     normalisation, and of the first token; tokens and starts [201] of all texts
    minilm.safetensors               token ids of all texts by all-MiniLM-L6-v2 (i32, all texts end to end, and where
                                     each begins), and its vectors [200, 384] (f16, which turns a vector by 0.0003 at
                                     most: far less than the comparison allows)
"""

import json
import random
import sys
from pathlib import Path

import numpy
import torch
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from tokenizers import trainers
from transformers import BertConfig, BertModel, BertTokenizerFast

HERE = Path(__file__).parent
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

FIXED = [
    "",
    " ",
    "\n\t  ",
    "a",
    ".",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "São Paulo é incrível, não é? Ação!",
    "Zażółć gęślą jaźń",
    "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Größe, Straße, ÄÖÜ; œuvre, æther, naïve café",
    "I ❤️ Rust 🦀🔥 👩‍👩‍👧‍👦 🇧🇷",
    "😀😃😄😁😆",
    "日本語の文章を埋め込みます。",
    "机器学习模型可以理解文本的含义。",
    "한국어 문장도 있습니다.",
    "Это предложение на русском языке.",
    "هذه جملة باللغة العربية",
    "यह हिन्दी में एक वाक्य है।",
    "mixed 日本語 and English 混合 text",
    "e\u0301le\u0300ve combining marks o\u0308",
    "tabs\tand\u00a0non-breaking\u2009spaces\u200bzero\u200dwidth",
    "“curly quotes” — dashes – and … ellipses",
    "control \u0007 characters \u001b and a replacement \ufffd",
    "3.14159 1,000,000 2026-11-23 12:34:56 $99.99 50% #1 @home",
    "https://example.com/path?query=value&other=1#fragment",
    "fn main() { println!(\"{}\", 1 + 1); }",
    "ALL CAPITALS AND CamelCaseWords and snake_case_words",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "x" * 99,
    "x" * 101,
    "word " * 600,
    "[MASK] and [CLS] and [SEP] in a text",
    "don't can't won't it's",
    "a-b-c d/e/f g_h_i",
]
SUBJECTS = "the cat,my neighbour,a tired nurse,every student,the old bridge,our server,nobody,the river".split(",")
VERBS = "watched,repaired,forgot,painted,crossed,measured,praised,sold,feared,translated".split(",")
OBJECTS = "the garden,a broken clock,three letters,the news,an unusual theory,the winter,his own shadow".split(",")
TAILS = "in the morning,without a word,because it rained,for the second time,near the station,at last".split(",")


def make_texts():
    draw = random.Random(1)
    texts = list(FIXED)
    while len(texts) < 200:
        sentences = []
        for _ in range(draw.choice([1, 1, 1, 1, 2, 3, 8])):
            parts = [draw.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, TAILS)]
            sentences.append(" ".join(parts[: draw.choice([2, 3, 4, 4])]))
        text = ". ".join(sentence.capitalize() for sentence in sentences) + draw.choice(["", ".", "!", "?"])
        texts.append(text)
    # One of exactly 600 different-looking words.
    texts[-1] = " ".join(draw.choice(SUBJECTS + VERBS + OBJECTS + TAILS).split()[-1] for _ in range(600))
    return texts


def make_small(texts, folder):
    """A random embedder of width 40 that sees 32 tokens."""
    tokenizer = Tokenizer(tokenizer_models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIALS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    scratch = folder.with_suffix(".encoder")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=48,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(scratch)
    wrapped = BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=32)
    wrapped.save_pretrained(scratch)
    transformer = models.Transformer(str(scratch), max_seq_length=32)
    pooling = models.Pooling(40, pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu")
    model.save(str(folder), create_model_card=False)
    for path in sorted(scratch.rglob("*"), reverse=True):
        path.unlink()
    scratch.rmdir()


def encode(model, texts):
    return model.encode(texts, batch_size=16, show_progress_bar=False).astype(numpy.float32)


def token_ids(model, texts):
    """All ids end to end, and where each text begins."""
    rows = []
    for text in texts:
        batch = model.tokenize([text])
        rows.append(batch["input_ids"][0][batch["attention_mask"][0].bool()].numpy())
    starts = numpy.cumsum([0, *(len(row) for row in rows)])
    return {"tokens": numpy.concatenate(rows).astype(numpy.int32), "starts": starts.astype(numpy.int32)}


def main():
    torch.set_num_threads(1)
    texts = make_texts()
    path = HERE / "sentences.json"
    path.write_text(json.dumps(texts, ensure_ascii=False, indent=0) + "\n")

    folder = HERE / "sentence_transformers"
    make_small(texts, folder)
    small = SentenceTransformer(str(folder), device="cpu")
    tensors = token_ids(small, texts) | {"normalized": encode(small, texts)}
    for name, mode in (("mean", "mean"), ("cls", "cls")):
        modules = [small[0], models.Pooling(40, pooling_mode=mode)]
        tensors[name] = encode(SentenceTransformer(modules=modules, device="cpu"), texts)
    save_file(tensors, HERE / "sentence_transformers.safetensors")

    minilm = SentenceTransformer(sys.argv[1], device="cpu")
    vectors = encode(minilm, texts).astype(numpy.float16)
    save_file(token_ids(minilm, texts) | {"normalized": vectors}, HERE / "minilm.safetensors")
    for written in (path, *folder.rglob("*"), *HERE.glob("*.safetensors")):
        if written.is_file():
            written.chmod(0o644)


if __name__ == "__main__":
    main()
