"""Writes `token_pipeline/` beside this script: two random models that label words, as `transformers` saves them, and
`token_pipeline/found.json`, what its pipeline finds with them.

    python tests/golden/token_pipeline.py

Needs torch, transformers and tokenizers. `bert/` splits words at punctuation and marks pieces that continue a word by `##`;
`roberta/` marks pieces that begin one. The pipeline has aggregation_strategy="first".
"""

import json
import shutil
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, pipeline

HERE = Path(__file__).parent / "token_pipeline"
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-LOC"]
TEXTS = [
    "Ada Lovelace lived in London, not in Paris.",
    "  Ada  went to São Paulo\u2014and wrote to Charles Babbage.",
    "\U0001f600 Zoë's friend O'Neill-Müller said: \"ça va?\"",
    "word",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "unbelievably long internationalization of lovelaces and londoners",
    "Tokyo \u6771\u4eac and \u00c5ngstr\u00f6m",
]
SHAPE = dict(
    hidden_size=24,
    intermediate_size=32,
    num_attention_heads=2,
    num_hidden_layers=1,
    max_position_embeddings=66,
    id2label=dict(enumerate(LABELS)),
    label2id={label: id for id, label in enumerate(LABELS)},
)


def word_piece():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(TEXTS[:4], trainers.WordPieceTrainer(vocab_size=90, special_tokens=specials))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), specials))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def byte_pairs():
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=specials, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS[:5], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), specials))
    names |= {"cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def make(folder, configuration, model, tokenizer, texts=TEXTS, **settings):
    config = getattr(transformers, configuration)(vocab_size=len(tokenizer), **SHAPE, **settings)
    random = torch.Generator().manual_seed(3)
    model = getattr(transformers, model)(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Words are to differ: biases would give all the same label.
            deviation = 0.02 if name.endswith("bias") else 1.0 if name.startswith("classifier") else 0.4
            value = deviation * torch.randn(weight.shape, generator=random)
            weight.copy_(1 + value / 2 if name.endswith("LayerNorm.weight") else value)
    shutil.rmtree(HERE / folder, ignore_errors=True)
    model.save_pretrained(HERE / folder)
    tokenizer.save_pretrained(HERE / folder)
    find = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first")
    keys = {"entity_group": "label", "score": "score", "start": "start", "end": "end"}
    return [
        {"text": text, "entities": [{new: span[old] for old, new in keys.items()} for span in find(text)]}
        for text in texts
    ]


def main():
    torch.set_num_threads(1)
    found = {
        "bert": make("bert", "BertConfig", "BertForTokenClassification", word_piece()),
        "roberta": make(
            "roberta",
            "RobertaConfig",
            "RobertaForTokenClassification",
            byte_pairs(),
            # Its pipeline takes the bytes of one character, and a piece that is nothing but a blank, for words of their own.
            [text for text in TEXTS[:5] if text.isascii()],
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            type_vocab_size=1,
        ),
    }
    path = HERE / "found.json"
    path.write_text(json.dumps(found, indent=1, default=float) + "\n")
    for folder, texts in found.items():
        print(folder, [[(span["label"], span["start"], span["end"]) for span in text["entities"]] for text in texts])


if __name__ == "__main__":
    main()
