"""Writes the whole-model golden files, `<case>.safetensors`, beside this script.

    python tests/golden/model.py

Needs torch and safetensors. Computes in f64 from weights that f32 holds exactly; stores f32.

Every file holds (B = 3 sequences of T = 40 tokens: one full, one of 23, one of a single token)
    input_ids [B, T], bounds [B, T, 2]       i32; a token sees the keys in [start, end)
    masked_rows [M], labels [M]              i32; row b·T + t, and the token to predict there
    weights/<name>                           before training
    hidden/embeddings, hidden/<layer>, hidden/final   [B, T, C]; the last one after bert.LayerNorm
    logits [M, V], loss [1]                  mean cross entropy in nats
    gradients/<name>, gradient_norm [1]      not clipped; L2 over all gradients
    losses [10]                              before each of ten AdamW steps on this one batch
    gradient_norms [10]                      before clipping, at each of these steps
    weights_after/<name>                     some parameters after the ten steps
and in its metadata `config` (JSON). The optimizer's recipe is OPTIMIZER below.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from reference_bert import AdamW, Bert, Config, global_norm, parameter_shapes

CLS, MASK, SEP, PAD, FIRST_WORD = 0, 1, 2, 3, 4
TOKENS = 40
LENGTHS = (TOKENS, 23, 1)
MASKED = ((2, 3, 11, 17, 30, 38), (1, 9, 10, 20, 21, 22), (0,))
OPTIMIZER = {"lr": 1e-3, "betas": [0.9, 0.98], "eps": 1e-12, "decay": 0.01, "clip": 0.5, "steps": 10}

CASES = {
    "relative_untied_mask": {},
    "relative_untied_nomask": {"mask_padding": False},
    "relative_tied_mask": {"tie_word_embeddings": True},
    "absolute_untied_mask": {"position_embedding_type": "absolute"},
}


def make_config(**changes):
    # The inner width is not four times the width, and the position table is longer than T,
    # so that an assumption of either shows.
    return Config(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=48,
        **changes,
    )


def make_weights(config, random):
    """Larger than a real initialisation, so that no gradient is tiny."""
    weights = {}
    for name, shape in parameter_shapes(config).items():
        value = torch.randn(shape, generator=random, dtype=torch.float64)
        if name.endswith("LayerNorm.weight"):
            value = 1 + 0.1 * value
        elif name.endswith("LayerNorm.bias"):
            value = 0.1 * value
        elif "embedding" in name:
            value = 0.2 * value
        else:
            value = 0.15 * value
        # What the file holds is what was computed with.
        weights[name] = value.float().double()
    return weights


def make_batch(config, random):
    batch = len(LENGTHS)
    input_ids = torch.full((batch, TOKENS), PAD)
    bounds = torch.zeros(batch, TOKENS, 2, dtype=torch.int64)
    rows, labels = [], []
    for b, (length, masked) in enumerate(zip(LENGTHS, MASKED)):
        words = torch.randint(FIRST_WORD, config.vocab_size, (length,), generator=random)
        words[0] = CLS
        if length > 1:
            words[-1] = SEP
        for index, t in enumerate(masked):
            rows.append(b * TOKENS + t)
            labels.append(torch.randint(FIRST_WORD, config.vocab_size, (), generator=random).item())
            if index % 3 != 2:  # every third one keeps a word
                words[t] = MASK
        input_ids[b, :length] = words
        if config.mask_padding:
            # Padding sees nothing, and nothing sees padding.
            bounds[b, :length, 1] = length
        else:
            bounds[b, :, 1] = TOKENS
    return input_ids, bounds, torch.tensor(rows), torch.tensor(labels)


def compute(config, weights, batch):
    """Every tensor of a file but the weights and the batch, in the dtype of the weights."""
    input_ids, bounds, masked_rows, labels = batch
    model = Bert(config, weights)
    tensors = {}
    states, final = model.hidden_states(input_ids, bounds)
    tensors["hidden/embeddings"] = states[0]
    for layer, state in enumerate(states[1:]):
        tensors[f"hidden/{layer}"] = state
    tensors["hidden/final"] = final
    tensors["logits"] = model.logits(final, masked_rows)
    loss = torch.nn.functional.cross_entropy(tensors["logits"], labels)
    tensors["loss"] = loss.reshape(1)
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.weights.items()}
    tensors |= {f"gradients/{name}": gradient.clone() for name, gradient in gradients.items()}
    tensors["gradient_norm"] = global_norm(list(gradients.values())).reshape(1)

    optimizer = AdamW(
        model.weights,
        betas=OPTIMIZER["betas"],
        eps=OPTIMIZER["eps"],
        decay=OPTIMIZER["decay"],
        clip=OPTIMIZER["clip"],
    )
    for weight in model.weights.values():
        weight.grad = None
    losses, norms = [], []
    for _ in range(OPTIMIZER["steps"]):
        loss = model.loss(*batch)
        loss.backward()
        losses.append(loss)
        norms.append(optimizer.step(OPTIMIZER["lr"]))
    tensors["losses"], tensors["gradient_norms"] = torch.stack(losses), torch.stack(norms)
    position = (
        "bert.encoder.layer.0.attention.self.distance_embedding.weight"
        if config.relative
        else "bert.embeddings.position_embeddings.weight"
    )
    for name in (
        "bert.encoder.layer.1.intermediate.LayerNorm.weight",
        "bert.encoder.layer.0.attention.self.query.weight",
        position,
    ):
        tensors[f"weights_after/{name}"] = model.weights[name]
    return {name: tensor.detach() for name, tensor in tensors.items()}


def make_case(changes):
    """The configuration, weights (f64), batch (i64) and results (f64) of one case."""
    config = make_config(**changes)
    weights = make_weights(config, torch.Generator().manual_seed(1))
    batch = make_batch(config, torch.Generator().manual_seed(2))
    return config, weights, batch, compute(config, weights, batch)


def main():
    torch.set_num_threads(1)
    for case, changes in CASES.items():
        config, weights, batch, results = make_case(changes)
        tensors = dict(zip(("input_ids", "bounds", "masked_rows", "labels"), batch))
        tensors = {name: tensor.int() for name, tensor in tensors.items()}
        tensors |= {f"weights/{name}": weight.float() for name, weight in weights.items()}
        tensors |= {name: tensor.float() for name, tensor in results.items()}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        path = Path(__file__).with_name(f"{case}.safetensors")
        # One metadata key only: safetensors writes several in random order, and a golden file is
        # to have the same bytes every time.
        save_file(tensors, path, {"config": config.to_json()})
        path.chmod(0o644)
        losses = results["losses"]
        print(
            f"{path.name}: {path.stat().st_size} bytes, gradient norm "
            f"{results['gradient_norm'].item():.4f}, loss {losses[0]:.6f} -> {losses[-1]:.6f}"
        )


if __name__ == "__main__":
    main()
