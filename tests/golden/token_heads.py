"""Writes `token_heads.safetensors` beside this script: what `transformers` computes with heads that give every token a
class, on the encoders of `families/` (tests/golden/families.py).

    python tests/golden/token_heads.py

Needs torch and transformers. Computes in f64, without dropout, from weights that f32 holds exactly; stores f32. For each
family there are (B = 3 sequences of T = 20 tokens, K = 5 classes)
    input_ids [B, T], lengths [B]            i32; the rest is padding
    labels [B, T]                            i32, -100 where a token is not judged
    weights/<name>                           of the head
    logits [B, T, K]                         zeros in padding
    class_weights [K]
and twice, as `plain/` and, with the class weights as in torch.nn.CrossEntropyLoss(weight), as `weighted/`
    loss [1]
    gradients/<name>                         of that loss, for the head and one parameter of the encoder
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForTokenClassification

HERE = Path(__file__).parent
TOKENS, LENGTHS, CLASSES, FIRST_WORD = 20, (20, 13, 1), 5, 5
# Folder, and a parameter of the encoder by its names here and in files.
FAMILIES = {
    "bert_silu": "bert.encoder.layer.1.output.dense.weight",
    "roberta": "roberta.encoder.layer.1.output.dense.weight",
    "xlm_roberta": "roberta.encoder.layer.1.output.dense.weight",
    "camembert": "roberta.encoder.layer.1.output.dense.weight",
    "distilbert": "distilbert.transformer.layer.1.ffn.lin2.weight",
    "electra": "electra.encoder.layer.1.output.dense.weight",
    "mpnet": "mpnet.encoder.layer.1.output.dense.weight",
    "modernbert": "model.layers.2.mlp.Wo.weight",
    "nomic_bert": "nomic_bert.encoder.layers.1.norm2.weight",
    "gte": "gte.encoder.layer.1.mlp_ln.weight",
}
# What `transformers` calls a parameter that its files call otherwise.
INNER = {
    "nomic_bert.encoder.layers.1.norm2.weight": "nomic_bert.layers.1.post_mlp_layernorm.weight",
    "gte.encoder.layer.1.mlp_ln.weight": "gte.layers.1.post_mlp_layernorm.weight",
}


def compute(folder, watched, random):
    model = AutoModelForTokenClassification.from_pretrained(
        HERE / "families" / folder,
        num_labels=CLASSES,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,
    )
    model = model.double().eval()
    named = dict(model.named_parameters())
    heads = {name: weight for name, weight in named.items() if name.startswith(("classifier.", "head."))}
    with torch.no_grad():
        for weight in heads.values():
            weight.copy_((0.3 * torch.randn(weight.shape, generator=random, dtype=torch.float64)).float())
    pad = model.config.pad_token_id
    ids = torch.full((len(LENGTHS), TOKENS), pad)
    labels = torch.full((len(LENGTHS), TOKENS), -100)
    for b, length in enumerate(LENGTHS):
        ids[b, :length] = torch.randint(FIRST_WORD, model.config.vocab_size, (length,), generator=random)
        given = torch.randint(0, CLASSES, (length,), generator=random)
        judged = torch.rand(length, generator=random) < 0.7
        judged[0] = b != 1
        labels[b, :length] = torch.where(judged, given, -100)
    # Each text by itself: padding beyond the reach of local attention would become NaN.
    logits = torch.zeros(len(LENGTHS), TOKENS, CLASSES, dtype=torch.float64)
    for b, length in enumerate(LENGTHS):
        logits[b, :length] = model(input_ids=ids[b : b + 1, :length]).logits[0]
    class_weights = torch.rand(CLASSES, generator=random).double() * 3 + 0.2
    class_weights = class_weights.float().double()
    tensors = {"input_ids": ids, "lengths": torch.tensor(LENGTHS), "labels": labels, "logits": logits}
    tensors |= {f"weights/{name}": weight.clone() for name, weight in heads.items()}
    tensors["class_weights"] = class_weights
    for kind, weight in (("plain", None), ("weighted", class_weights)):
        loss = torch.nn.CrossEntropyLoss(weight=weight)(logits.view(-1, CLASSES), labels.view(-1))
        model.zero_grad()
        loss.backward(retain_graph=True)
        tensors[f"{kind}/loss"] = loss[None]
        gradients = {name: heads[name].grad for name in heads}
        gradients[watched] = named[INNER.get(watched, watched)].grad
        tensors |= {f"{kind}/gradients/{name}": gradient.clone() for name, gradient in gradients.items()}
    return tensors


def main():
    torch.set_num_threads(1)
    stored = {}
    for folder, watched in FAMILIES.items():
        tensors = compute(folder, watched, torch.Generator().manual_seed(7))
        for name, tensor in tensors.items():
            kind = torch.float32 if tensor.is_floating_point() else torch.int32
            stored[f"{folder}/{name}"] = tensor.detach().to(kind).contiguous().clone()
        print(folder, tensors["plain/loss"].item(), tensors["weighted/loss"].item())
    save_file(stored, HERE / "token_heads.safetensors")


if __name__ == "__main__":
    main()
