"""The notebook's pre-LN BERT encoder in plain PyTorch: the reference that golden files come from.

Every formula is written out rather than taken from `torch.nn`, so that it can be read beside the
shaders. Runs in whatever dtype its weights have.

Shapes: B sequences, T tokens, C width, H heads, D head size, F inner width, V vocabulary,
M masked rows. Linear weights are [out, in]; nothing but LayerNorm has a bias.
"""

import json
import math
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as functional


@dataclass
class Config:
    """The architecture; the field names are those of `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    layer_norm_eps: float = 1e-6
    # "relative_bucket" or "absolute"
    position_embedding_type: str = "relative_bucket"
    max_position_embeddings: int = 128
    tie_word_embeddings: bool = False
    mask_padding: bool = True
    relative_attention_num_buckets: int = 32

    @staticmethod
    def from_json(text):
        """Reads the fields known here; ignores the rest."""
        known = {field.name for field in fields(Config)}
        return Config(**{key: value for key, value in json.loads(text).items() if key in known})

    def to_json(self):
        return json.dumps(asdict(self))

    @property
    def relative(self):
        if self.position_embedding_type not in ("relative_bucket", "absolute"):
            raise ValueError(f"unknown position_embedding_type {self.position_embedding_type!r}")
        return self.position_embedding_type == "relative_bucket"

    @property
    def head_size(self):
        return self.hidden_size // self.num_attention_heads


def parameter_shapes(config):
    """Name -> shape of every parameter, in the order of the forward pass."""
    c, f, v = config.hidden_size, config.intermediate_size, config.vocab_size
    shapes = {"bert.embeddings.word_embeddings.weight": (v, c)}
    if not config.relative:
        shapes["bert.embeddings.position_embeddings.weight"] = (config.max_position_embeddings, c)

    def layer_norm(name):
        shapes[f"{name}.weight"] = (c,)
        shapes[f"{name}.bias"] = (c,)

    layer_norm("bert.embeddings.LayerNorm")
    for i in range(config.num_hidden_layers):
        layer = f"bert.encoder.layer.{i}"
        layer_norm(f"{layer}.attention.LayerNorm")
        for part in ("query", "key", "value"):
            shapes[f"{layer}.attention.self.{part}.weight"] = (c, c)
        if config.relative:
            shapes[f"{layer}.attention.self.distance_embedding.weight"] = (
                config.relative_attention_num_buckets,
                config.head_size,
            )
        shapes[f"{layer}.attention.output.dense.weight"] = (c, c)
        layer_norm(f"{layer}.intermediate.LayerNorm")
        shapes[f"{layer}.intermediate.dense.weight"] = (f, c)
        shapes[f"{layer}.output.dense.weight"] = (c, f)
    layer_norm("bert.LayerNorm")
    if not config.tie_word_embeddings:
        shapes["cls.predictions.decoder.weight"] = (v, c)
    return shapes


def distance_bucket(tokens, buckets, device=None):
    """[T, T] row of the distance embedding for query i and key j: clamp(j - i, -n/2, n/2 - 1) mod n."""
    position = torch.arange(tokens, device=device)
    distance = position[None, :] - position[:, None]
    return distance.clamp(-(buckets // 2), buckets // 2 - 1) % buckets


def layer_norm(x, weight, bias, eps):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis; the variance is the biased one."""
    return functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


def gelu(x):
    """x/2 * (1 + erf(x / sqrt 2))."""
    return functional.gelu(x, approximate="none")


def attention(q, k, v, allowed, distance_embedding=None, bucket=None):
    """softmax((q·k + q·P[bucket]) / sqrt D) · v, over the keys that `allowed` names.

    q, k, v [B, H, T, D]; allowed [B, 1, T, T] bool; distance_embedding P [32, D]; bucket [T, T].
    A row without any allowed key gives zeros.
    """
    scores = q @ k.transpose(-1, -2)
    if distance_embedding is not None:
        by_bucket = q @ distance_embedding.T  # [B, H, T, 32]
        scores = scores + by_bucket.gather(-1, bucket.expand(*scores.shape))
    scores = scores / math.sqrt(q.shape[-1])
    # The least finite number rather than -inf: a row without keys would otherwise be NaN.
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    probabilities = scores.softmax(-1) * allowed
    return probabilities @ v


def allowed_keys(bounds):
    """bounds [B, T, 2] -> [B, 1, T, T] bool: may token i see key j, that is start <= j < end."""
    key = torch.arange(bounds.shape[1], device=bounds.device)
    start, end = bounds[:, :, 0, None], bounds[:, :, 1, None]
    return ((start <= key) & (key < end))[:, None]


class Bert:
    """The encoder and its masked language modelling head over a dict of named tensors."""

    def __init__(self, config, weights):
        expected = parameter_shapes(config)
        wrong = set(expected) ^ set(weights)
        if wrong:
            raise ValueError(f"missing or unexpected tensors: {sorted(wrong)}")
        for name, shape in expected.items():
            if tuple(weights[name].shape) != shape:
                raise ValueError(f"{name}: expected {shape}, got {tuple(weights[name].shape)}")
        self.config = config
        self.weights = {
            name: weights[name].detach().clone().requires_grad_() for name in expected
        }
        self._bucket = {}

    def _weight(self, name):
        return self.weights[f"{name}.weight"]

    def _layer_norm(self, x, name):
        return layer_norm(
            x, self._weight(name), self.weights[f"{name}.bias"], self.config.layer_norm_eps
        )

    def _attention(self, x, layer, allowed):
        batch, tokens, width = x.shape

        def heads(part):
            y = x @ self._weight(f"{layer}.attention.self.{part}").T
            return y.view(batch, tokens, -1, self.config.head_size).transpose(1, 2)

        distance_embedding, bucket = None, None
        if self.config.relative:
            distance_embedding = self._weight(f"{layer}.attention.self.distance_embedding")
            if tokens not in self._bucket:
                self._bucket[tokens] = distance_bucket(
                    tokens, self.config.relative_attention_num_buckets, x.device
                )
            bucket = self._bucket[tokens]
        y = attention(
            heads("query"), heads("key"), heads("value"), allowed, distance_embedding, bucket
        )
        y = y.transpose(1, 2).reshape(batch, tokens, width)
        return y @ self._weight(f"{layer}.attention.output.dense").T

    def hidden_states(self, input_ids, bounds):
        """The residual stream [B, T, C] after the embedding and each block, then the final LayerNorm.

        input_ids [B, T] and bounds [B, T, 2] are integers.
        """
        x = self._weight("bert.embeddings.word_embeddings")[input_ids]
        if not self.config.relative:
            # Counted from the start of what a token sees: in packed sequences, of its document.
            position = torch.arange(input_ids.shape[1], device=input_ids.device) - bounds[:, :, 0]
            x = x + self._weight("bert.embeddings.position_embeddings")[position.clamp(min=0)]
        x = self._layer_norm(x, "bert.embeddings.LayerNorm")
        states = [x]
        allowed = allowed_keys(bounds)
        for i in range(self.config.num_hidden_layers):
            layer = f"bert.encoder.layer.{i}"
            x = x + self._attention(
                self._layer_norm(x, f"{layer}.attention.LayerNorm"), layer, allowed
            )
            y = self._layer_norm(x, f"{layer}.intermediate.LayerNorm")
            y = gelu(y @ self._weight(f"{layer}.intermediate.dense").T)
            x = x + y @ self._weight(f"{layer}.output.dense").T
            states.append(x)
        return states, self._layer_norm(x, "bert.LayerNorm")

    def logits(self, final, masked_rows):
        """[M, V]: only the rows b·T + t that are predicted meet the head. masked_rows [M]."""
        rows = final.reshape(-1, final.shape[-1])[masked_rows]
        head = "bert.embeddings.word_embeddings" if self.config.tie_word_embeddings else (
            "cls.predictions.decoder"
        )
        return rows @ self._weight(head).T

    def loss(self, input_ids, bounds, masked_rows, labels):
        """Mean cross entropy in nats over the masked rows. labels [M]."""
        _, final = self.hidden_states(input_ids, bounds)
        return functional.cross_entropy(self.logits(final, masked_rows), labels)


class AdamW:
    """Loshchilov and Hutter's AdamW over a dict of tensors, after clipping by the global norm.

    Decay touches tensors of two or more dimensions only. The clip is min(1, clip / norm), without
    the 1e-6 that `torch.nn.utils.clip_grad_norm_` adds.
    """

    def __init__(self, weights, betas=(0.9, 0.98), eps=1e-12, decay=0.01, clip=0.5):
        self.weights = list(weights.values())
        self.betas, self.eps, self.decay, self.clip = betas, eps, decay, clip
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    @torch.no_grad()
    def step(self, lr):
        """Updates the weights, clears their gradients and returns the norm before clipping."""
        self.steps += 1
        gradients = [weight.grad for weight in self.weights]
        norm = global_norm(gradients)
        torch._foreach_mul_(gradients, torch.clamp(self.clip / norm, max=1.0))
        beta1, beta2 = self.betas
        torch._foreach_lerp_(self.first, gradients, 1 - beta1)
        torch._foreach_mul_(self.second, beta2)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - beta2)

        decayed = [weight for weight in self.weights if weight.ndim >= 2]
        torch._foreach_mul_(decayed, 1 - lr * self.decay)
        denominator = torch._foreach_div(self.second, 1 - beta2**self.steps)
        torch._foreach_sqrt_(denominator)
        torch._foreach_add_(denominator, self.eps)
        torch._foreach_addcdiv_(self.weights, self.first, denominator, -lr / (1 - beta1**self.steps))
        for weight in self.weights:
            weight.grad = None
        return norm


def global_norm(tensors):
    """L2 norm over all elements of all tensors."""
    return torch.stack([tensor.norm() for tensor in tensors]).norm()
