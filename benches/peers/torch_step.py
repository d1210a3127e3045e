"""Training steps of wgrad's benchmark workloads in PyTorch, and matrix products. Prints one JSON object.

    python benches/peers/torch_step.py --workload tiny --seconds 10
    python benches/peers/torch_step.py --workload base --device cuda --precision fp16 --sequences 256
    python benches/peers/torch_step.py --gemm 4096 --device cuda --precision fp16

`tiny` is 4 layers, width 256, 4 heads, vocabulary 8192, absolute positions, 16 x 128 tokens of which 293 are guessed;
`base` 12 layers, width 768, 12 heads, vocabulary 32768, relative positions (a bias of 32 distances for each head, made
of the query), 32 x 128 tokens of which 608 are guessed. Both: pre-LN, no biases in linear layers, exact GELU, the head
only on the guessed rows, AdamW with the gradient clipped at a norm of 0.5. fp16 is autocast with a GradScaler.

Every form of attention is timed, eager and compiled: `gather` writes the scores out, `sdpa` gives them to
scaled_dot_product_attention as a bias (nothing to give with absolute positions), `flex` to flex_attention. What a
device cannot do is told in `error`. `best` is the fastest.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as functional

WORKLOADS = {
    "tiny": dict(layers=4, width=256, heads=4, vocabulary=8192, relative=False, sequences=16, targets=293),
    "base": dict(layers=12, width=768, heads=12, vocabulary=32768, relative=True, sequences=32, targets=608),
}
TOKENS, BUCKETS = 128, 32


def buckets(device):
    """[T, T] clamp(j - i, -16, 15) mod 32."""
    position = torch.arange(TOKENS, device=device)
    return (position[None, :] - position[:, None]).clamp(-BUCKETS // 2, BUCKETS // 2 - 1) % BUCKETS


class Block(nn.Module):
    def __init__(self, workload, form):
        super().__init__()
        width, self.heads, self.form = workload["width"], workload["heads"], form
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = linear(width, 3 * width), linear(width, width)
        self.up, self.down = linear(width, 4 * width), linear(4 * width, width)
        self.distances = nn.Parameter(torch.empty(BUCKETS, width // self.heads)) if workload["relative"] else None

    def attention(self, x, bucket):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scale = 1 / math.sqrt(q.shape[-1])
        by_bucket = None if self.distances is None else q @ self.distances.T.to(q.dtype)  # [B, H, T, 32]
        if self.form == "flex":
            from torch.nn.attention.flex_attention import flex_attention

            def score(value, b, h, i, j):
                distance = torch.clamp(j - i, -BUCKETS // 2, BUCKETS // 2 - 1) % BUCKETS
                return value + scale * by_bucket[b, h, i, distance]

            y = flex_attention(q, k, v, score_mod=None if by_bucket is None else score)
        else:
            bias = None
            if by_bucket is not None:
                bias = by_bucket.gather(-1, bucket.expand(batch, self.heads, tokens, tokens))
            if self.form == "sdpa":
                y = functional.scaled_dot_product_attention(q, k, v, None if bias is None else scale * bias)
            else:
                scores = q @ k.transpose(-1, -2)
                scores = scores if bias is None else scores + bias
                y = (scores * scale).softmax(-1, dtype=torch.float32).to(v.dtype) @ v
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))

    def forward(self, x, bucket):
        x = x + self.attention(self.norm1(x), bucket)
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Bert(nn.Module):
    def __init__(self, workload, form):
        super().__init__()
        width, vocabulary = workload["width"], workload["vocabulary"]
        self.words = nn.Embedding(vocabulary, width)
        self.positions = None if workload["relative"] else nn.Parameter(torch.empty(TOKENS, width))
        self.norm, self.last = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(Block(workload, form) for _ in range(workload["layers"]))
        self.head = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, bucket, rows, labels):
        x = self.words(ids)
        x = self.norm(x if self.positions is None else x + self.positions)
        for block in self.blocks:
            x = block(x, bucket)
        guessed = self.last(x).flatten(0, 1)[rows]
        return functional.cross_entropy(self.head(guessed).float(), labels)


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def time_steps(workload, form, compiled, options):
    """Milliseconds of a step in the middle, and seconds until the first one was done."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    device, cuda = options.device, options.device == "cuda"
    began = time.perf_counter()
    model = Bert(workload, form).to(device)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.98), eps=1e-12, fused=cuda)
    mixed = options.precision == "fp16"
    scaler = torch.amp.GradScaler(device, enabled=mixed)
    run = torch.compile(model) if compiled else model
    sequences, count = workload["sequences"], workload["targets"]
    total = sequences * TOKENS
    ids = (torch.arange(total) * 2654435761 % 2**32 % workload["vocabulary"]).view(sequences, TOKENS)
    rows = torch.arange(count) * total // count
    batch = [tensor.to(device) for tensor in (ids, buckets("cpu"), rows, ids.flatten()[rows])]

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.float16, enabled=mixed):
            loss = run(*batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        synchronize(device)
        return loss

    step()
    first = time.perf_counter() - began
    for _ in range(2 if options.seconds > 0 else 0):
        step()
    taken, until = [], time.perf_counter() + options.seconds
    while not taken or time.perf_counter() < until:
        clock = time.perf_counter()
        loss = step()
        taken.append(time.perf_counter() - clock)
    if not math.isfinite(loss.item()):
        raise RuntimeError(f"a loss of {loss.item()}")
    ms = 1e3 * statistics.median(taken)
    return dict(ms=ms, tokens_per_second=1e3 * total / ms, steps=len(taken), first_step_s=first)


def steps(options):
    workload = dict(WORKLOADS[options.workload])
    if options.sequences:
        workload["targets"] = -(-workload["targets"] * options.sequences // workload["sequences"])
        workload["sequences"] = options.sequences
    forms = ["gather", "sdpa", "flex"] if options.form == "all" else [options.form]
    modes = {"both": [False, True], "eager": [False], "compiled": [True]}[options.mode]
    results = []
    for form in forms:
        for compiled in modes:
            if form == "flex" and not compiled:
                continue  # Without compilation flex_attention writes everything out, only slower.
            result = dict(form=form, compiled=compiled)
            try:
                result.update(time_steps(workload, form, compiled, options))
            except Exception as error:
                result["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            print(json.dumps(result), file=sys.stderr, flush=True)
            results.append(result)
    timed = [result for result in results if "ms" in result]
    best = min(timed, key=lambda result: result["ms"], default=None)
    return dict(workload=options.workload, sequences=workload["sequences"], forms=results, best=best)


def gemm(options):
    """Square products: as nt, nn and tn like the layers' forward and gradients."""
    size, results = options.gemm, []
    dtype = torch.float16 if options.precision == "fp16" else torch.float32
    a, b = (torch.randn(size, size, device=options.device).to(dtype) for _ in range(2))
    layouts = [("nt", lambda: a @ b.T), ("nn", lambda: a @ b), ("tn", lambda: a.T @ b)]
    for layout, product in layouts:
        product()
        synchronize(options.device)
        rounds, clock = 0, time.perf_counter()
        while rounds == 0 or time.perf_counter() - clock < options.seconds:
            for _ in range(10 if options.device == "cuda" else 1):
                product()
                rounds += 1
            synchronize(options.device)
        taken = (time.perf_counter() - clock) / rounds
        results.append(dict(layout=layout, m=size, n=size, k=size, ms=1e3 * taken, gflops=2e-9 * size**3 / taken))
    best = max(results, key=lambda result: result["gflops"])
    return dict(shapes=results, best=best)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="tiny")
    parser.add_argument("--sequences", type=int, help="of a step; the guessed tokens grow alike")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "fp16"], default="f32")
    parser.add_argument("--form", choices=["all", "gather", "sdpa", "flex"], default="all")
    parser.add_argument("--mode", choices=["both", "eager", "compiled"], default="both")
    parser.add_argument("--gemm", type=int, metavar="N", help="measure N x N products instead of steps")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = options.device == "cuda"
    head = dict(peer="pytorch", torch=torch.__version__, precision=options.precision)
    head["device"] = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(json.dumps(head | (gemm(options) if options.gemm else steps(options))))


if __name__ == "__main__":
    main()
