"""Writes `finetune.safetensors` beside this script: ten finetuning steps of small models, without dropout.

    python tests/golden/finetune.py [CASE]...

With names only those are made anew. Needs torch and transformers. Computes in f64 from weights that f32 holds exactly; stores f32. The `bert_` cases begin
with the model in `hugging_face/` (tests/golden/hugging_face.py), the `wgrad_` cases with the one in
`relative_untied_mask.safetensors` (tests/golden/model.py). Every case holds
    input_ids, token_type_ids [B, T], lengths [B]   i32; the rest is padding, which no token attends to
    labels [B]                    i32 classes or f32 numbers; none for pairs, where the texts are followed by as many
                                  partners, and in `bert_negatives` by as many first and second negatives
    weights/<name>                of the head, before training
    outputs [B, K]                of the head; of pairs the vectors of length 1 [B, C]
    losses, gradient_norms [10]   before each of ten AdamW steps on this one batch
    gradients/<name>              of the first loss, and
    weights_after/<name>          after the ten steps, for some parameters
The optimizers' recipes are in CASES.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as functional
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification, BertModel

from reference_bert import Bert, Config

HERE = Path(__file__).parent
TOKENS = 32
LENGTHS = (TOKENS, 19, 7, 2)
STEPS = 10
CRAMMING = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.0}
NOTEBOOK = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-12, "weight_decay": 0.01}


def make_batch(specials, vocabulary, random, lengths=LENGTHS):
    cls, sep, pad, first = specials
    ids = torch.full((len(lengths), TOKENS), pad)
    types = torch.zeros_like(ids)
    for b, length in enumerate(lengths):
        ids[b, :length] = torch.randint(first, vocabulary, (length,), generator=random)
        ids[b, 0], ids[b, length - 1] = cls, sep
        types[b, length // 2 : length] = 1
    return ids, types, torch.arange(TOKENS)[None] < torch.tensor(lengths)[:, None]


def fresh(shape, random):
    return (0.2 * torch.randn(shape, generator=random, dtype=torch.float64)).float().double()


def bert_head(classes, kind="classes"):
    """`kind` is classes, weighted (of which each counts differently) or labels (of which a text may have several)."""
    random = torch.Generator().manual_seed(3)
    model = BertForSequenceClassification.from_pretrained(
        HERE / "hugging_face", num_labels=classes, attn_implementation="eager"
    )
    model = model.double().eval()
    with torch.no_grad():
        model.classifier.weight.copy_(fresh(model.classifier.weight.shape, random))
        model.classifier.bias.copy_(fresh(model.classifier.bias.shape, random))
    ids, types, mask = make_batch((2, 3, 0, 5), model.config.vocab_size, random)
    labels = torch.tensor([2, 0, 1, 1]) if classes > 1 else fresh(4, random) * 10
    if kind == "labels":
        labels = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    weight = torch.tensor([0.5, 1.25, 4.0], dtype=torch.float64)
    named = dict(model.named_parameters())
    heads = {name: named[name] for name in ("classifier.weight", "classifier.bias")}

    def compute():
        outputs = model(ids, attention_mask=mask.long(), token_type_ids=types).logits
        if kind == "labels":
            return outputs, functional.binary_cross_entropy_with_logits(outputs, labels.double())
        if kind == "weighted":
            return outputs, torch.nn.CrossEntropyLoss(weight=weight)(outputs, labels)
        if classes > 1:
            return outputs, functional.cross_entropy(outputs, labels)
        return outputs, functional.mse_loss(outputs[:, 0], labels)

    batch = {"input_ids": ids, "token_type_ids": types, "labels": labels}
    watched = ("bert.pooler.dense.bias", "bert.encoder.layer.1.attention.self.value.weight", *heads)
    return named, heads, batch, compute, watched, CRAMMING


def bert_pairs(lengths=LENGTHS, negatives=0):
    """Each text among the partners of all, and with `negatives` among so many further texts of each."""
    model = BertModel.from_pretrained(HERE / "hugging_face", attn_implementation="eager", add_pooling_layer=False)
    model = model.double().eval()
    random = torch.Generator().manual_seed(4)
    ids, types, mask = make_batch((2, 3, 0, 5), model.config.vocab_size, random, lengths)
    types = torch.zeros_like(types)

    def compute():
        hidden = model(ids, attention_mask=mask.long(), token_type_ids=types).last_hidden_state
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        vectors = functional.normalize(mean)
        texts, *others = vectors.chunk(2 + negatives)
        logits = 20 * texts @ torch.cat(others).T
        return vectors, functional.cross_entropy(logits, torch.arange(len(texts)))

    named = {f"bert.{name}": weight for name, weight in model.named_parameters()}
    watched = ("bert.embeddings.LayerNorm.weight", "bert.encoder.layer.1.output.dense.weight")
    batch = {"input_ids": ids, "token_type_ids": types, "lengths": torch.tensor(lengths)}
    return named, {}, batch, compute, watched, CRAMMING


def wgrad_classes(mean=False):
    """A linear head on the first token; with `mean` two layers on the mean over the tokens."""
    random = torch.Generator().manual_seed(5)
    with safe_open(HERE / "relative_untied_mask.safetensors", "pt") as file:
        config = Config.from_json(file.metadata()["config"])
        names = [name.removeprefix("weights/") for name in file.keys() if name.startswith("weights/")]
        weights = {name: file.get_tensor(f"weights/{name}").double() for name in names}
    model = Bert(config, weights)
    heads = {
        "classifier.weight": fresh((2, config.hidden_size), random).requires_grad_(),
        "classifier.bias": fresh(2, random).requires_grad_(),
    }
    if mean:
        shape = (config.hidden_size, config.hidden_size)
        heads["bert.pooler.dense.weight"] = fresh(shape, random).requires_grad_()
        heads["bert.pooler.dense.bias"] = fresh(shape[0], random).requires_grad_()
    ids, types, mask = make_batch((0, 2, 3, 4), config.vocab_size, random)
    bounds = torch.zeros(*ids.shape, 2, dtype=torch.int64)
    bounds[:, :, 1] = torch.tensor(LENGTHS)[:, None] * mask
    labels = torch.tensor([1, 0, 0, 1])

    def compute():
        _, final = model.hidden_states(ids, bounds)
        read = final[:, 0]
        if mean:
            read = (final * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
            dense = read @ heads["bert.pooler.dense.weight"].T + heads["bert.pooler.dense.bias"]
            read = torch.tanh(dense)
        outputs = read @ heads["classifier.weight"].T + heads["classifier.bias"]
        return outputs, functional.cross_entropy(outputs, labels)

    named = model.weights | heads
    named.pop("cls.predictions.decoder.weight")
    watched = ("bert.encoder.layer.0.attention.self.distance_embedding.weight", "bert.LayerNorm.bias", *heads)
    batch = {"input_ids": ids, "token_type_ids": types, "labels": labels}
    return named, heads, batch, compute, watched, NOTEBOOK


CASES = {
    "bert_classes": lambda: bert_head(3),
    "bert_weighted": lambda: bert_head(3, "weighted"),
    "bert_labels": lambda: bert_head(3, "labels"),
    "bert_number": lambda: bert_head(1),
    "bert_pairs": bert_pairs,
    "bert_negatives": lambda: bert_pairs((TOKENS, 19, 7, 3, 12, 8, 5, 27, 16, 9, 2, 21), negatives=2),
    "wgrad_classes": wgrad_classes,
    "wgrad_mean": lambda: wgrad_classes(mean=True),
}


def steps(named, compute, watched, recipe):
    decay = recipe["weight_decay"]
    groups = [
        {"params": [w for w in named.values() if w.ndim >= 2], "weight_decay": decay},
        {"params": [w for w in named.values() if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe["lr"], betas=recipe["betas"], eps=recipe["eps"])
    tensors, losses, norms = {}, [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        outputs, loss = compute()
        loss.backward()
        used = [weight.grad for weight in named.values() if weight.grad is not None]
        losses.append(loss.detach())
        norms.append(torch.stack([gradient.norm() for gradient in used]).norm())
        if step == 0:
            tensors["outputs"] = outputs
            tensors |= {f"gradients/{name}": named[name].grad.clone() for name in watched}
        optimizer.step()
    tensors |= {f"weights_after/{name}": named[name] for name in watched}
    return tensors | {"losses": torch.stack(losses), "gradient_norms": torch.stack(norms)}


def main():
    torch.set_num_threads(1)
    # Cases that are not asked for stay as they are.
    asked = sys.argv[1:] or CASES
    path = HERE / "finetune.safetensors"
    stored = load_file(path) if sys.argv[1:] else {}
    for case, make in ((case, CASES[case]) for case in asked):
        named, heads, batch, compute, watched, recipe = make()
        tensors = {"lengths": torch.tensor(LENGTHS)} | batch
        tensors |= {f"weights/{name}": weight.detach().clone() for name, weight in heads.items()}
        tensors |= steps(named, compute, watched, recipe)
        for name, tensor in tensors.items():
            kind = torch.float32 if tensor.is_floating_point() else torch.int32
            stored[f"{case}/{name}"] = tensor.detach().to(kind).contiguous().clone()
        print(case, [round(loss, 4) for loss in tensors["losses"].tolist()])
    save_file(stored, path)


if __name__ == "__main__":
    main()
