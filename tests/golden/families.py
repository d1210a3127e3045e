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
]


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


def make(folder, configuration, model, settings, specials):
    model = make_model(configuration, model, settings)
    model.save_pretrained(FOLDER / folder)
    tokenizer, ids = make_tokenizer(specials)
    tokenizer.save(str(FOLDER / folder / "tokenizer.json"))

    model = model.double()
    random = torch.Generator().manual_seed(2)
    input_ids, rows, labels = make_batch(ids, specials, random)
    mask = torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None]
    types = torch.zeros_like(input_ids)
    given = dict(input_ids=input_ids, attention_mask=mask.long())
    if getattr(model.config, "type_vocab_size", 0) > 1:
        types[0, 12:] = 1
        given["token_type_ids"] = types
    output = model(**given, output_hidden_states=True)
    tensors = {
        "input_ids": input_ids.int(),
        "token_type_ids": types.int(),
        "lengths": torch.tensor(LENGTHS).int(),
    }
    if "Classification" in type(model).__name__:
        labels, logits = torch.tensor([2, 0, 1]), output.logits
    else:
        logits = output.logits.flatten(0, 1)[rows]
        tensors["masked_rows"] = rows.int()
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    tensors |= {"labels": labels.int(), "logits": logits, "loss": loss.reshape(1)}
    for layer, state in enumerate(output.hidden_states):
        tensors[f"hidden/{layer}"] = state * mask[:, :, None]
    saved = load_file(FOLDER / folder / "model.safetensors")
    # A parameter that has two names is saved by one of them.
    for name, weight in model.named_parameters(remove_duplicate=False):
        if weight.grad is not None and name in saved:
            tensors[f"gradients/{name}"] = weight.grad
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
