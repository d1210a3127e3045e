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
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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


def modern():
    """As ModernBERT's: byte-level BPE with BERT's special tokens at its end, runs of spaces and names of what was left out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_tokens([AddedToken("|||IP_ADDRESS|||", normalized=True)])
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in (3, 2)])
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    tokenizer.add_special_tokens([*specials, AddedToken("[MASK]", lstrip=True)])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ids
    )
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
# So near that texts of some words are longer.
MODERN = dict(SHAPE, num_hidden_layers=4, max_position_embeddings=64, local_attention=6)
GTE = dict(BERT, pad_token_id=0, type_vocab_size=0, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})
NOMIC = dict(BERT, pad_token_id=0)

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
    ("ModernBERT-base", "ModernBert", "ForMaskedLM", MODERN, modern, "mean"),
    ("gte-modernbert-base", "ModernBert", "Model", MODERN, modern, "cls"),
    ("granite-embedding-english-r2", "ModernBert", "Model", MODERN, modern, "cls"),
    ("roberta-base", "Roberta", "ForMaskedLM", ROBERTA, byte_level, "mean"),
    ("xlm-roberta-base", "XLMRoberta", "ForMaskedLM", ROBERTA, unigram, "mean"),
    ("camembert-base", "Camembert", "ForMaskedLM", ROBERTA, unigram, "mean"),
    ("distilbert-base-uncased", "DistilBert", "ForMaskedLM", DISTIL, word_piece, "mean"),
    ("distilbert-base-uncased-finetuned-sst-2", "DistilBert", "ForSequenceClassification", dict(DISTIL, **TWO), word_piece, None),
    ("electra-small-discriminator", "Electra", "ForPreTraining", ELECTRA, word_piece, "mean"),
    ("ms-marco-MiniLM-L6-v2", "Bert", "ForSequenceClassification", dict(BERT, **ONE), word_piece, None),
    ("LaBSE", "Bert", "Model", BERT, word_piece, "cls"),
    ("bert-base-NER", "Bert", "ForTokenClassification", dict(BERT, num_labels=9), word_piece, "mean"),
    ("gte-base-en-v1.5", "Gte", "Model", GTE, word_piece, "cls"),
    ("nomic-embed-text-v1.5", "NomicBert", "Model", NOMIC, word_piece, "mean"),
]


def gte_on_the_hub(model, keys):
    """The keys of the code that gte-base-en-v1.5 has on the hub; its frequencies are stretched (https://kexue.fm/archives/9706)."""
    size, by = model.config.hidden_size // model.config.num_attention_heads, 2.0
    exponents = torch.arange(0, size, 2, dtype=torch.float) / size
    model.rotary_emb.inv_freq = 1.0 / (500000.0 * by) ** exponents / by ** (2 / size)
    del keys["rope_parameters"]
    return dict(
        keys,
        model_type="new",
        architectures=["NewModel"],
        auto_map={"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"},
        rope_theta=500000,
        rope_scaling={"factor": by, "type": "ntk"},
        position_embedding_type="rope",
        layer_norm_type="layer_norm",
        pack_qkv=True,
        unpad_inputs=False,
        use_memory_efficient_attention=False,
        logn_attention_scale=False,
        logn_attention_clip1=False,
    )


def nomic_on_the_hub(model, keys):
    """The keys of the code that nomic-embed-text-v1.5 has on the hub."""
    return dict(
        model_type="nomic_bert",
        architectures=["NomicBertModel"],
        auto_map={"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
        vocab_size=keys["vocab_size"],
        n_embd=keys["hidden_size"],
        n_layer=keys["num_hidden_layers"],
        n_head=keys["num_attention_heads"],
        n_inner=keys["intermediate_size"],
        n_positions=keys["max_position_embeddings"],
        activation_function="swiglu",
        layer_norm_epsilon=1e-12,
        rotary_emb_base=1000,
        rotary_emb_fraction=1.0,
        rotary_emb_interleaved=False,
        rotary_emb_scale_base=None,
        rotary_scaling_factor=None,
        qkv_proj_bias=False,
        mlp_fc1_bias=False,
        mlp_fc2_bias=False,
        prenorm=False,
        parallel_block=False,
        use_rms_norm=False,
        causal=False,
        type_vocab_size=2,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        use_flash_attn=True,
        pad_vocab_size_multiple=64,
    )


ON_THE_HUB = {"gte-base-en-v1.5": gte_on_the_hub, "nomic-embed-text-v1.5": nomic_on_the_hub}


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
        if family == "ModernBert":
            ids = {role: tokenizer.token_to_id(f"[{role.upper()}]") for role in ("pad", "cls", "sep")}
            settings |= {f"{role}_token_id": id for role, id in ids.items()}
            settings |= dict(bos_token_id=ids["cls"], eos_token_id=ids["sep"])
        config = getattr(transformers, f"{family}Config")(**settings)
        if labels:
            config.num_labels = labels
        model = getattr(transformers, f"{family}{head}")(config).eval()
        model.save_pretrained(folder)
        if name in ON_THE_HUB:
            path = folder / "config.json"
            path.write_text(json.dumps(ON_THE_HUB[name](model, json.loads(path.read_text()))))
        tokenizer.save(str(folder / "tokenizer.json"))
        what = "scores of pairs" if pooling is None else f"vectors, {pooling}"
        try:
            worst = scores(wgrad, folder, model, tokenizer) if pooling is None else vectors(wgrad, folder, model, tokenizer, pooling)
            found = f"{worst:.1e}"
        except RuntimeError as error:
            unread = "to be a family of encoders" in str(error)
            found = "the family is not read" if unread else str(error).replace(f"{folder}/", "")
        print(name, f"{family}{head}", make.__name__, what, found, sep="\t", flush=True)


if __name__ == "__main__":
    main()
