"""The side of scripts/long/models that `transformers` computes.

    models.py WGRAD FOLDER      a row for each model: name, kind, tokenizer, what was compared, largest difference
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROBERTAS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BERTS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["the cat sat on the mat.", "Um gato não é um cão!", "  данные   вчера ", "今日は天気", "a"]
CORPUS = [
    *TEXTS,
    "Ein Hund läuft schnell über die Straße!",
    "les chiens aboient la nuit; où vont-ils?",
    "данные были получены вчера",
] * 5


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=ROBERTAS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=ROBERTAS, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=BERTS, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


SHAPE = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
BERT = dict(SHAPE, max_position_embeddings=64)
ROBERTA = dict(
    SHAPE,
    max_position_embeddings=66,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
    type_vocab_size=1,
    layer_norm_eps=1e-5,
)
DISTIL = dict(dim=48, n_layers=2, n_heads=4, hidden_dim=96, max_position_embeddings=64)
ONE, TWO = dict(num_labels=1), dict(num_labels=2)
ELECTRA = dict(BERT, embedding_size=32)
MODERN = dict(SHAPE, max_position_embeddings=64, pad_token_id=0, global_attn_every_n_layers=2)

# Name, class and its settings, tokenizer, pooling.
MODELS = [
    ("all-MiniLM-L6-v2", "Bert", "Model", BERT, word_piece, "mean"),
    ("multi-qa-MiniLM-L6", "Bert", "Model", BERT, word_piece, "mean"),
    ("paraphrase-multilingual-MiniLM-L12-v2", "Bert", "Model", BERT, unigram, "mean"),
    ("all-mpnet-base-v2", "MPNet", "Model", dict(ROBERTA), word_piece, "mean"),
    ("bert-base-uncased", "Bert", "ForPreTraining", BERT, word_piece, "cls"),
    ("bert-base-multilingual-cased", "Bert", "ForMaskedLM", BERT, word_piece, "mean"),
    ("bert-base-chinese", "Bert", "ForMaskedLM", BERT, word_piece, "cls"),
    ("bge-base-en-v1.5", "Bert", "Model", BERT, word_piece, "cls"),
    ("bge-m3", "XLMRoberta", "Model", ROBERTA, unigram, "cls"),
    ("bge-reranker-v2-m3", "XLMRoberta", "ForSequenceClassification", dict(ROBERTA, **ONE), unigram, None),
    ("e5-base-v2", "Bert", "Model", BERT, word_piece, "mean"),
    ("multilingual-e5-small", "Bert", "Model", BERT, unigram, "mean"),
    ("multilingual-e5-base", "XLMRoberta", "Model", ROBERTA, unigram, "mean"),
    ("gte-base", "Bert", "Model", BERT, word_piece, "mean"),
    ("mxbai-embed-large-v1", "Bert", "Model", BERT, word_piece, "cls"),
    ("snowflake-arctic-embed-m", "Bert", "Model", BERT, word_piece, "cls"),
    ("snowflake-arctic-embed-l-v2.0", "XLMRoberta", "Model", ROBERTA, unigram, "cls"),
    ("ModernBERT-base", "ModernBert", "ForMaskedLM", MODERN, word_piece, "mean"),
    ("gte-modernbert-base", "ModernBert", "Model", MODERN, word_piece, "cls"),
    ("granite-embedding-english-r2", "ModernBert", "Model", MODERN, word_piece, "cls"),
    ("roberta-base", "Roberta", "ForMaskedLM", ROBERTA, byte_level, "mean"),
    ("xlm-roberta-base", "XLMRoberta", "ForMaskedLM", ROBERTA, unigram, "mean"),
    ("camembert-base", "Camembert", "ForMaskedLM", ROBERTA, unigram, "mean"),
    ("distilbert-base-uncased", "DistilBert", "ForMaskedLM", DISTIL, word_piece, "mean"),
    ("distilbert-base-uncased-finetuned-sst-2", "DistilBert", "ForSequenceClassification", dict(DISTIL, **TWO), word_piece, None),
    ("electra-small-discriminator", "Electra", "ForPreTraining", ELECTRA, word_piece, "mean"),
    ("ms-marco-MiniLM-L6-v2", "Bert", "ForSequenceClassification", dict(BERT, **ONE), word_piece, None),
    ("LaBSE", "Bert", "Model", BERT, word_piece, "cls"),
    ("bert-base-NER", "Bert", "ForTokenClassification", dict(BERT, num_labels=9), word_piece, "mean"),
]
ELSEWHERE = [("gte-base-en-v1.5", "new"), ("nomic-embed-text-v1.5", "nomic_bert")]


def run(command, given=None):
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return [json.loads(line) for line in done.stdout.splitlines()]


def vectors(wgrad, folder, model, tokenizer, pooling):
    encoder = getattr(model, model.base_model_prefix, model)
    command = [wgrad, "embed", "--model", str(folder), "--pooling", pooling, "--precision", "f32", *TEXTS]
    worst = 0.0
    for text, found in zip(TEXTS, run(command), strict=True):
        with torch.no_grad():
            hidden = encoder(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].double()
        exact = hidden.mean(0) if pooling == "mean" else hidden[0]
        exact = (exact / exact.norm()).numpy()
        worst = max(worst, abs(np.array(found["embedding"]) - exact).max())
    return worst


def scores(wgrad, folder, model, tokenizer):
    pairs = [(a, b) for a in TEXTS[:2] for b in TEXTS[:3]]
    lines = "\n".join(f"{a}\t{b}" for a, b in pairs)
    worst = 0.0
    for (a, b), found in zip(pairs, run([wgrad, "predict", "--model", str(folder), "--json"], lines), strict=True):
        encoded = tokenizer.encode(a, b)
        given = dict(input_ids=torch.tensor([encoded.ids]))
        if getattr(model.config, "type_vocab_size", 0) > 1:
            given["token_type_ids"] = torch.tensor([encoded.type_ids])
        with torch.no_grad():
            logits = model(**given).logits[0].double()
        if len(logits) == 1:
            worst = max(worst, abs(found["score"] - logits.item()))
            continue
        for id, exact in enumerate(logits.softmax(-1).tolist()):
            worst = max(worst, abs(found["probabilities"][model.config.id2label[id]] - exact))
    return worst


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wgrad, root = sys.argv[1], pathlib.Path(sys.argv[2])
    for name, family, head, settings, make, pooling in MODELS:
        torch.manual_seed(0)
        tokenizer, folder = make(), root / name
        settings = dict(settings, vocab_size=-(-tokenizer.get_vocab_size() // 8) * 8)
        labels = settings.pop("num_labels", None)
        config = getattr(transformers, f"{family}Config")(**settings)
        if labels:
            config.num_labels = labels
        model = getattr(transformers, f"{family}{head}")(config).eval()
        model.save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        what = "scores of pairs" if pooling is None else f"vectors, {pooling}"
        try:
            worst = scores(wgrad, folder, model, tokenizer) if pooling is None else vectors(wgrad, folder, model, tokenizer, pooling)
            found = f"{worst:.1e}"
        except RuntimeError as error:
            unread = "to be a family of encoders" in str(error)
            found = "the family is not read" if unread else str(error).replace(f"{folder}/", "")
        print(name, f"{family}{head}", make.__name__, what, found, sep="\t", flush=True)
    for name, family in ELSEWHERE:
        print(name, family, "word_piece", "not compared", "the family is not read", sep="\t", flush=True)


if __name__ == "__main__":
    main()
