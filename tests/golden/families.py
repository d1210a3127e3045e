"""Writes `families/`: small random models of other families than BERT's as `transformers` saves them, and beside each
folder a file of what it computes.

    python tests/golden/families.py [FOLDER]...

Needs torch, transformers and tokenizers. Computes in f64, without dropout, from weights that f32 holds exactly; stores
f32. A file holds (B = 3 sequences of T = 20 tokens, of which the last has one token)
    input_ids, token_type_ids [B, T]         i32
    lengths [B]                              i32; the rest is padding, which no token attends to
    hidden/<layer> [B, T, C]                 after the embeddings (0) and after each layer; zeros in padding
    loss [1]                                 mean cross entropy in nats
    gradients/<name>                         of that loss
and of a model that guesses masked tokens
    masked_rows [M], labels [M]              i32; row b·T + t, and the token to predict there
    logits [M, V]
or of one that tells classes apart
    labels [B]                               i32
    logits [B, K]
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

FOLDER = Path(__file__).parent / "families"
TOKENS, LENGTHS = 20, (20, 13, 1)
MASKED = ((2, 3, 11), (1, 9, 10, 11), (0,))
VOCABULARY, WIDTH, INNER, HEADS, LAYERS = 45, 24, 40, 2, 2
SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=WIDTH,
    intermediate_size=INNER,
    num_attention_heads=HEADS,
    num_hidden_layers=LAYERS,
    max_position_embeddings=28,
)
DISTIL = dict(
    vocab_size=VOCABULARY,
    dim=WIDTH,
    hidden_dim=INNER,
    n_heads=HEADS,
    n_layers=LAYERS,
    max_position_embeddings=28,
)
ROBERTA = dict(SHAPE, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1)
MPNET = dict(SHAPE, pad_token_id=1, bos_token_id=0, eos_token_id=2, max_position_embeddings=130)
MODERN = dict(
    SHAPE,
    num_hidden_layers=3,
    layer_types=["full_attention", "sliding_attention", "full_attention"],
    local_attention=8,
    pad_token_id=0,
    bos_token_id=2,
    eos_token_id=3,
    cls_token_id=2,
    sep_token_id=3,
)
NOMIC = dict(SHAPE, pad_token_id=0)
GTE = dict(SHAPE, pad_token_id=0, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})
# Heads whose width is no multiple of 4, and layers whose width is no multiple of 8.
NARROW = dict(hidden_size=20, intermediate_size=36)
ODD = dict(hidden_size=36, intermediate_size=20, num_attention_heads=4)
BERTS, ROBERTAS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

# Folder, configuration, class, settings, special tokens: in the order of their ids.
CASES = [
    ("bert_gelu_new", "BertConfig", "BertForMaskedLM", dict(SHAPE, hidden_act="gelu_new"), BERTS),
    ("bert_relu", "BertConfig", "BertForMaskedLM", dict(SHAPE, hidden_act="relu"), BERTS),
    ("bert_silu", "BertConfig", "BertForSequenceClassification", dict(SHAPE, hidden_act="silu"), BERTS),
    ("roberta", "RobertaConfig", "RobertaForMaskedLM", ROBERTA, ROBERTAS),
    ("xlm_roberta", "XLMRobertaConfig", "XLMRobertaForSequenceClassification", ROBERTA, ROBERTAS),
    ("camembert", "CamembertConfig", "CamembertForMaskedLM", ROBERTA, ROBERTAS),
    ("distilbert", "DistilBertConfig", "DistilBertForMaskedLM", DISTIL, BERTS),
    ("distilbert_classes", "DistilBertConfig", "DistilBertForSequenceClassification", DISTIL, BERTS),
    ("electra", "ElectraConfig", "ElectraForMaskedLM", dict(SHAPE, embedding_size=16), BERTS),
    ("electra_classes", "ElectraConfig", "ElectraForSequenceClassification", dict(SHAPE, embedding_size=24), BERTS),
    ("mpnet", "MPNetConfig", "MPNetForMaskedLM", MPNET, ROBERTAS),
    ("mpnet_classes", "MPNetConfig", "MPNetForSequenceClassification", MPNET, ROBERTAS),
    ("modernbert", "ModernBertConfig", "ModernBertForMaskedLM", MODERN, BERTS),
    (
        "modernbert_classes",
        "ModernBertConfig",
        "ModernBertForSequenceClassification",
        dict(MODERN, classifier_pooling="mean", hidden_activation="silu"),
        BERTS,
    ),
    ("bert_heads_of_10", "BertConfig", "BertForMaskedLM", dict(SHAPE, **NARROW), BERTS),
    ("mpnet_heads_of_9", "MPNetConfig", "MPNetForSequenceClassification", dict(MPNET, **ODD), ROBERTAS),
    ("modernbert_heads_of_10", "ModernBertConfig", "ModernBertForMaskedLM", dict(MODERN, **NARROW), BERTS),
    ("nomic_bert", "NomicBertConfig", "NomicBertForSequenceClassification", NOMIC, BERTS),
    ("nomic_bert_earlier", "NomicBertConfig", "NomicBertForMaskedLM", NOMIC, BERTS),
    ("gte", "GteConfig", "GteForMaskedLM", GTE, BERTS),
    ("gte_earlier", "GteConfig", "GteForSequenceClassification", dict(GTE, type_vocab_size=0), BERTS),
]

# What `transformers` renames while it saves, and joins: rows of several matrices below each other.
SAVED = {
    "nomic_bert": [
        ("nomic_bert.layers.", "nomic_bert.encoder.layers."),
        ("embeddings.LayerNorm", "emb_ln"),
        ("self_attn.o_proj", "attn.out_proj"),
        ("mlp.up_proj", "mlp.fc11"),
        ("mlp.gate_proj", "mlp.fc12"),
        ("mlp.down_proj", "mlp.fc2"),
        ("post_attention_layernorm", "norm1"),
        ("post_mlp_layernorm", "norm2"),
        ("self_attn.q_proj", "attn.Wqkv", "self_attn.k_proj", "self_attn.v_proj"),
    ],
    "gte": [
        ("gte.layers.", "gte.encoder.layer."),
        ("self_attn.o_proj", "attention.o_proj"),
        ("mlp.up_proj", "mlp.up_gate_proj", "mlp.gate_proj"),
        ("post_attention_layernorm", "attn_ln"),
        ("post_mlp_layernorm", "mlp_ln"),
        ("lm_head.layer_norm", "lm_head.norm"),
        ("self_attn.q_proj", "attention.qkv_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ],
}

# Models as their own code wrote them before `transformers` had their families: the keys of `config.json`, and what the names
# of the encoder's tensors begin with.
EARLIER = {
    "nomic_bert_earlier": (
        dict(
            model_type="nomic_bert",
            architectures=["NomicBertForPreTraining"],
            vocab_size=VOCABULARY,
            n_embd=WIDTH,
            n_inner=INNER,
            n_head=HEADS,
            n_layer=LAYERS,
            n_positions=28,
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
            type_vocab_size=2,
            resid_pdrop=0.0,
            attn_pdrop=0.0,
        ),
        ("nomic_bert.", "bert."),
    ),
    "gte_earlier": (
        dict(
            SHAPE,
            model_type="new",
            architectures=["NewForSequenceClassification"],
            hidden_act="gelu",
            type_vocab_size=0,
            layer_norm_type="layer_norm",
            layer_norm_eps=1e-12,
            position_embedding_type="rope",
            rope_theta=500000,
            rope_scaling={"factor": 2.0, "type": "ntk"},
            pack_qkv=True,
            unpad_inputs=False,
            logn_attention_scale=False,
            logn_attention_clip1=False,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.0,
            id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        ),
        ("gte.", "new."),
    ),
}


def stretch(model, theta, by):
    """Frequencies of the base `by` times as large, divided by `by` to the power of 2 / D, as rope_scaling of type ntk says:
    the lowest becomes `by` times as low and the highest stays nearly what it is (https://kexue.fm/archives/9706)."""
    size = WIDTH // HEADS
    exponents = torch.arange(0, size, 2, dtype=torch.float) / size
    frequencies = 1.0 / (theta * by) ** exponents / by ** (2 / size)
    model.gte.rotary_emb.inv_freq = frequencies.to(model.gte.rotary_emb.inv_freq.dtype)


def rewrite(folder, keys, prefix):
    """Gives a saved folder the configuration and the names that its own code wrote."""
    path = FOLDER / folder / "model.safetensors"
    tensors = load_file(path)
    for name in list(tensors):
        if name.startswith(prefix[0]):
            tensors[prefix[1] + name.removeprefix(prefix[0])] = tensors.pop(name)
    save_file(tensors, path, metadata={"format": "pt"})
    (FOLDER / folder / "config.json").write_text(json.dumps(keys, indent=2) + "\n")


def gradients(model):
    """By the names of files; a parameter that has two names has two entries."""
    # None are computed of what is read by no token.
    found = {name: weight.grad for name, weight in model.named_parameters(remove_duplicate=False)}
    for old, new, *others in SAVED.get(model.config.model_type, []):
        for name in [name for name in found if old in name]:
            parts = [found.pop(name), *(found.pop(name.replace(old, other)) for other in others)]
            found[name.replace(old, new)] = torch.cat(parts) if others else parts[0]
    return found


def make_tokenizer(specials):
    tokens = [*specials, *(f"w{id}" for id in range(len(specials), VOCABULARY))]
    ids = {token: id for id, token in enumerate(tokens)}
    first, last = ("[CLS]", "[SEP]") if "[CLS]" in ids else ("<s>", "</s>")
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]" if "[UNK]" in ids else "<unk>"))
    tokenizer.add_special_tokens(list(specials))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        # RoBERTa has two separators between texts and one type for both.
        pair=f"{first} $A {last} $B:1 {last}:1" if "[CLS]" in ids else f"{first} $A {last} {last} $B {last}",
        special_tokens=[(token, ids[token]) for token in (first, last)],
    )
    return tokenizer, ids


def make_model(configuration, model, settings):
    config = getattr(transformers, configuration)(**settings, attn_implementation="eager")
    if "Classification" in model:
        config.num_labels = 3
    random = torch.Generator().manual_seed(1)
    model = getattr(transformers, model)(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Larger than a real initialisation, so that no gradient is tiny.
            value = 0.3 * torch.randn(weight.shape, generator=random, dtype=torch.float64)
            norm = "norm" in name.lower() and name.endswith("weight")
            weight.copy_(1 + value / 2 if norm else value)
    return model


def make_batch(ids, specials, random):
    input_ids = torch.full((len(LENGTHS), TOKENS), next(ids[token] for token in specials if "pad" in token.lower()))
    mask = next(ids[token] for token in specials if "mask" in token.lower())
    rows, labels = [], []
    for b, (length, masked) in enumerate(zip(LENGTHS, MASKED)):
        words = torch.randint(len(specials), VOCABULARY, (length,), generator=random)
        for t in masked:
            rows.append(b * TOKENS + t)
            labels.append(words[t].item())
            words[t] = mask
        input_ids[b, :length] = words
    return input_ids, torch.tensor(rows), torch.tensor(labels)


def compute(model, given):
    """The hidden states and the logits of a batch."""
    if not getattr(model.config, "layer_types", None):
        output = model(**given, output_hidden_states=True)
        return output.hidden_states, output.logits
    # Padding beyond the reach of local attention attends to nothing there and becomes NaN, which goes on to all: so each
    # text by itself.
    outputs = []
    for b, length in enumerate(LENGTHS):
        alone = {key: value[b : b + 1, :length] for key, value in given.items()}
        outputs.append(model(**alone, output_hidden_states=True))
    pad = lambda x: torch.nn.functional.pad(x, (0, 0, 0, TOKENS - x.shape[1]))
    states = [torch.cat([pad(state) for state in layer]) for layer in zip(*(output.hidden_states for output in outputs))]
    is_text = outputs[0].logits.dim() == 2
    return states, torch.cat([output.logits if is_text else pad(output.logits) for output in outputs])


def make(folder, configuration, model, settings, specials):
    model = make_model(configuration, model, settings)
    model.save_pretrained(FOLDER / folder)
    tokenizer, ids = make_tokenizer(specials)
    tokenizer.save(str(FOLDER / folder / "tokenizer.json"))

    model = model.double()
    if folder == "gte_earlier":
        stretch(model, 500000.0, 2.0)
    random = torch.Generator().manual_seed(2)
    input_ids, rows, labels = make_batch(ids, specials, random)
    mask = torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None]
    types = torch.zeros_like(input_ids)
    given = dict(input_ids=input_ids, attention_mask=mask.long())
    if getattr(model.config, "type_vocab_size", 0) > 1:
        types[0, 12:] = 1
        given["token_type_ids"] = types
    states, logits = compute(model, given)
    tensors = {
        "input_ids": input_ids.int(),
        "token_type_ids": types.int(),
        "lengths": torch.tensor(LENGTHS).int(),
    }
    if "Classification" in type(model).__name__:
        labels = torch.tensor([2, 0, 1])
    else:
        logits = logits.flatten(0, 1)[rows]
        tensors["masked_rows"] = rows.int()
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    tensors |= {"labels": labels.int(), "logits": logits, "loss": loss.reshape(1)}
    for layer, state in enumerate(states):
        tensors[f"hidden/{layer}"] = state * mask[:, :, None]
    saved = load_file(FOLDER / folder / "model.safetensors")
    # A parameter that has two names is saved by one of them.
    for name, gradient in gradients(model).items():
        if gradient is not None and name in saved:
            tensors[f"gradients/{name}"] = gradient
    if folder in EARLIER:
        rewrite(folder, *EARLIER[folder])
    tensors = {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in tensors.items()
    }
    save_file(tensors, FOLDER / f"{folder}.safetensors")


def main():
    torch.set_num_threads(1)
    # With names only those are made anew.
    for case in CASES:
        if case[0] in sys.argv[1:] or not sys.argv[1:]:
            make(*case)
    for path in sorted(FOLDER.rglob("*.*")):
        print(f"{path.relative_to(FOLDER)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
