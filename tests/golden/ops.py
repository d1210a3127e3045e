"""Writes `ops.safetensors`, the golden file of single operations, beside this script.

    python tests/golden/ops.py

Needs torch and safetensors. Computes in f64 from inputs that f32 holds exactly; stores f32, and
i32 for indices. Tensors are named `<operation>/<tensor>`; `d_y` is the gradient that comes in,
the other `d_…` are the gradients of the inputs.

    layer_norm          x [7, 129], weight, bias [129], y; eps 1e-6, and one row as small as eps
    gelu                x [N], y; exact
    matmul_nt           x [33, 67], w [37, 67], y = x·wᵀ [33, 37]
    embedding           ids [2, 9] with repeats, weight [37, 17], y [18, 17]
    embedding_absolute  as embedding, plus positions [12, 17] (9 rows of it used)
    cross_entropy       logits [5, 131], labels, weights [5]; row_losses [5] before weighting;
                        y [1] = sum of weights·row_losses in nats
    attention           qkv [B·T, 3C] (q, then k, then v; head h is columns h·D..), bounds [B, T, 2],
                        p [32, D] (row clamp(j-i, -16, 15) mod 32), y [B·T, C]
    attention_absolute  as attention, without p
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from reference_bert import allowed_keys, attention, distance_bucket, layer_norm

random = torch.Generator().manual_seed(3)


def normal(*shape, scale=1.0):
    return (scale * torch.randn(shape, generator=random, dtype=torch.float64)).float().double()


def integers(low, high, *shape):
    return torch.randint(low, high, shape, generator=random)


def golden(function, inputs, d_y=None):
    """Runs function(**inputs) forward and backward; returns inputs, y, d_y and gradients."""
    leaves = {
        name: tensor.clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in inputs.items()
    }
    y = function(**leaves)
    d_y = normal(*y.shape) if d_y is None else d_y
    y.backward(d_y)
    gradients = {f"d_{name}": leaf.grad for name, leaf in leaves.items() if leaf.requires_grad}
    return inputs | {"y": y.detach(), "d_y": d_y} | gradients


def gelu(x):
    # By erfc, which keeps the digits that 1 + erf(x) cancels at the negative end.
    return x / 2 * torch.special.erfc(-x / 2**0.5)


def golden_layer_norm():
    x = normal(7, 129, scale=2.0) + normal(7, 1)
    x[3] = normal(129, scale=1e-3)  # variance = eps
    inputs = {"x": x.float().double(), "weight": 1 + normal(129, scale=0.1), "bias": normal(129)}
    inputs["weight"] = inputs["weight"].float().double()
    return golden(lambda x, weight, bias: layer_norm(x, weight, bias, 1e-6), inputs)


def golden_gelu():
    ends = torch.tensor([1e-30, 1e-20, 1e-8, 1e-4, 10.0, 100.0, 1e4])
    x = torch.cat([torch.linspace(-6, 6, 241), ends, -ends, normal(64)])
    return golden(gelu, {"x": x.float().double()})


def golden_embedding():
    ids = integers(0, 37, 2, 9)
    ids[1, :4] = ids[0, 0]
    weight, positions = normal(37, 17), normal(12, 17)
    lookup = golden(lambda ids, weight: weight[ids.flatten()], {"ids": ids, "weight": weight})
    absolute = golden(
        lambda ids, weight, positions: (weight[ids] + positions[: ids.shape[1]]).flatten(0, 1),
        {"ids": ids, "weight": weight, "positions": positions},
    )
    return lookup, absolute


def golden_cross_entropy():
    logits = normal(5, 131, scale=2.0)
    logits[1] *= 20
    logits[2] += 100  # exp overflows unless the greatest is taken off
    inputs = {
        "logits": logits.float().double(),
        "labels": torch.tensor([0, 130, 7, 64, 64]),
        "weights": torch.tensor([0.2, 0.5, 1.0, 0.0, 0.25]).double(),
    }
    inputs["weights"] = inputs["weights"].float().double()

    def row_losses(logits, labels):
        return logits.logsumexp(-1) - logits[torch.arange(5), labels]

    tensors = golden(
        lambda logits, labels, weights: (weights * row_losses(logits, labels)).sum().reshape(1),
        inputs,
        d_y=torch.tensor([0.75]).double(),
    )
    del tensors["d_weights"]  # the weights are given, not learnt
    return tensors | {"row_losses": row_losses(inputs["logits"], inputs["labels"])}


def golden_attention():
    batch, heads, tokens, head_size = 2, 2, 40, 16
    width = heads * head_size
    bounds = torch.zeros(batch, tokens, 2, dtype=torch.int64)
    for start, end in ((0, 9), (9, 10), (10, 40)):  # three packed segments, one of one token
        bounds[0, start:end] = torch.tensor([start, end])
    bounds[1, :33, 1] = 33  # seven rows of padding
    bucket = distance_bucket(tokens, 32)

    def run(qkv, bounds, p=None):
        q, k, v = (
            qkv.view(batch, tokens, 3, heads, head_size).permute(2, 0, 3, 1, 4).unbind(0)
        )
        y = attention(q, k, v, allowed_keys(bounds), p, None if p is None else bucket)
        return y.transpose(1, 2).reshape(batch * tokens, width)

    inputs = {"qkv": normal(batch * tokens, 3 * width), "bounds": bounds}
    relative = golden(run, inputs | {"p": normal(32, head_size, scale=0.5)})
    return relative, golden(run, inputs, relative["d_y"])


def main():
    torch.set_num_threads(1)
    operations = {
        "layer_norm": golden_layer_norm(),
        "gelu": golden_gelu(),
        "matmul_nt": golden(
            lambda x, w: x @ w.T, {"x": normal(33, 67), "w": normal(37, 67, scale=0.1)}
        ),
    }
    operations["embedding"], operations["embedding_absolute"] = golden_embedding()
    operations["cross_entropy"] = golden_cross_entropy()
    operations["attention"], operations["attention_absolute"] = golden_attention()
    tensors = {
        f"{operation}/{name}": (
            tensor.float() if tensor.is_floating_point() else tensor.int()
        ).contiguous()
        for operation, values in operations.items()
        for name, tensor in values.items()
    }
    # A tensor kept twice would otherwise share its memory, which safetensors refuses.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    path = Path(__file__).with_name("ops.safetensors")
    save_file(tensors, path)
    path.chmod(0o644)
    print(f"{path.name}: {path.stat().st_size} bytes, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
