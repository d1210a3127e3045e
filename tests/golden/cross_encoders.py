"""Writes `cross_encoders/`: small random cross-encoders as `transformers` saves them, and what `sentence-transformers` makes
of pairs.

    python tests/golden/cross_encoders.py

Needs torch, transformers and sentence-transformers 6. The texts are every eighth of `sentences.json`, the queries
QUERIES. `cross_encoders.safetensors` has of each folder
    <folder> [queries, texts]            scores by the activation that is the default, or that `config.json` names
    <folder> logits [queries, texts, K]  what the head gives
"""

import json
import shutil
from pathlib import Path

import numpy
import torch
from safetensors.numpy import save_file
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

HERE = Path(__file__).parent
# The last one has more tokens than half of what the models see, so that both texts of a pair are cut.
QUERIES = ["the cat crossed the old bridge", "", "who repaired a broken clock in the morning? " * 4]
BERTS = dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
ROBERTAS = dict(pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>")
SHAPE = dict(
    hidden_size=24,
    intermediate_size=40,
    num_attention_heads=2,
    num_hidden_layers=2,
    initializer_range=0.3,
    max_position_embeddings=32,
)
# What config.json says of the activation, in the two places where it was and is.
IDENTITY = dict(sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0.0"})
BEFORE = dict(sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")
ROBERTA = dict(SHAPE, max_position_embeddings=34, type_vocab_size=1, pad_token_id=0, bos_token_id=2, eos_token_id=3)
CASES = [
    ("bert", BertConfig, BertForSequenceClassification, SHAPE, dict(num_labels=1), BERTS, {}),
    ("bert_identity", BertConfig, BertForSequenceClassification, SHAPE, dict(num_labels=1), BERTS, IDENTITY),
    ("bert_two", BertConfig, BertForSequenceClassification, SHAPE, dict(num_labels=2), BERTS, {}),
    ("xlm_roberta", XLMRobertaConfig, XLMRobertaForSequenceClassification, ROBERTA, dict(num_labels=1), ROBERTAS, BEFORE),
]


def make_tokenizer(texts, specials):
    names = list(specials.values())
    tokenizer = Tokenizer(tokenizer_models.WordPiece(unk_token=specials["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=400, special_tokens=names, show_progress=False)
    )
    first, last = specials["cls_token"], specials["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1" if first == "[CLS]" else f"{first} $A {last} {last} $B {last}",
        special_tokens=[(token, names.index(token)) for token in (first, last)],
    )
    # Only BERT's tokens have types.
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if first == "[CLS]" else [])]
    how = dict(model_max_length=32, model_input_names=inputs)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **how, **specials)


def main():
    torch.set_num_threads(1)
    all_texts = json.loads((HERE / "sentences.json").read_text())
    texts = all_texts[::8]
    # Each is trained once: among pieces that are equally frequent, the training does not always choose the same.
    tokenizers = {kind["cls_token"]: make_tokenizer(all_texts[:120], kind) for kind in (BERTS, ROBERTAS)}
    tensors = {}
    for folder, configuration, kind, shape, labels, specials, keys in CASES:
        path = HERE / "cross_encoders" / folder
        tokenizer = tokenizers[specials["cls_token"]]
        torch.manual_seed(11)
        model = kind(configuration(vocab_size=len(tokenizer), **shape, **labels, **keys)).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("bias"):
                    weight.normal_(0, 0.3)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        encoder = CrossEncoder(str(path), device="cpu")
        pairs = [(query, text) for query in QUERIES for text in texts]
        shape = (len(QUERIES), len(texts))
        scores = encoder.predict(pairs, batch_size=1)
        logits = encoder.predict(pairs, batch_size=1, activation_fn=torch.nn.Identity())
        tensors[f"{folder} logits"] = logits.reshape(*shape, -1).astype(numpy.float32)
        if labels["num_labels"] == 1:
            tensors[folder] = scores.reshape(shape).astype(numpy.float32)
        print(folder, encoder.activation_fn, encoder.max_seq_length, scores.min(), scores.max())
    # The weights are those of `bert`: tests/rerank.rs writes the key itself.
    shutil.rmtree(HERE / "cross_encoders" / "bert_identity")
    save_file(tensors, HERE / "cross_encoders.safetensors")
    for written in (HERE / "cross_encoders").rglob("*.*"):
        written.chmod(0o644)


if __name__ == "__main__":
    main()
