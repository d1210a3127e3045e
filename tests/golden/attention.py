"""Writes `attention.safetensors`: attention probabilities as PyTorch computes them.

    python tests/golden/attention.py [MINILM]

Needs torch, transformers and safetensors. Computes in f64, stores f32. The file holds, of the random BERT in
`hugging_face/` on the batch of `hugging_face.safetensors` (B = 3 sequences of T = 40 tokens, the last two padded)
    bert/probabilities [B, L, H, T, T]       zeros in padding
and of the models in `relative_untied_mask.safetensors` and `absolute_untied_mask.safetensors` on their own batch
    <case>/probabilities [B, L, H, T, T]
    <case>/by_distance [B, L, H, 32]         q·P / sqrt D, mean over the queries; distances -16 to 15; relative only

With the folder of all-MiniLM-L6-v2 (`scripts/fetch-minilm` prints it) it also writes `attention_minilm.safetensors`:
    <n>/input_ids, <n>/token_type_ids [T]    i32, of the texts in TEXTS
    <n>/probabilities [L, H, T, T]
"""

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

import reference_bert

HERE = Path(__file__).parent
TEXTS = (
    ("The quick brown fox jumps over the lazy dog.", None),
    ("How do I reset my password?", "Click on the link that we sent you."),
)


def f32(tensor):
    return tensor.detach().float().contiguous()


def hugging_face():
    model = AutoModel.from_pretrained(HERE / "hugging_face", attn_implementation="eager")
    batch = load_file(HERE / "hugging_face.safetensors")
    mask = torch.arange(batch["input_ids"].shape[1])[None] < batch["lengths"][:, None]
    output = model.eval().double()(
        batch["input_ids"].long(),
        attention_mask=mask.long(),
        token_type_ids=batch["token_type_ids"].long(),
        output_attentions=True,
    )
    return torch.stack(output.attentions, 1) * mask[:, None, None, :, None]


def own(case):
    """Probabilities and contributions of a model of this crate, by listening to `reference_bert.attention`."""
    path = HERE / f"{case}.safetensors"
    with safe_open(path, "pt") as file:
        config = reference_bert.Config.from_json(file.metadata()["config"])
    tensors = load_file(path)
    weights = {
        name.removeprefix("weights/"): tensor.double()
        for name, tensor in tensors.items()
        if name.startswith("weights/")
    }
    seen, added = [], []
    original = reference_bert.attention

    def listen(q, k, v, allowed, distance_embedding=None, bucket=None):
        tokens, size = q.shape[-2:]
        eye = torch.eye(tokens, dtype=q.dtype).expand(*q.shape[:2], tokens, tokens)
        # With the identity for values, the probabilities come out.
        seen.append(original(q, k, eye, allowed, distance_embedding, bucket))
        if distance_embedding is not None:
            real = allowed.any(-1)[..., None]  # [B, 1, T, 1]
            by_bucket = q @ distance_embedding.T / size**0.5 * real
            mean = by_bucket.sum(-2) / real.sum(-2)
            added.append(mean.roll(distance_embedding.shape[0] // 2, -1))
        return original(q, k, v, allowed, distance_embedding, bucket)

    reference_bert.attention = listen
    reference_bert.Bert(config, weights).hidden_states(tensors["input_ids"].long(), tensors["bounds"].long())
    reference_bert.attention = original
    return torch.stack(seen, 1), torch.stack(added, 1) if added else None


def minilm(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval().double()
    tensors = {}
    for index, (first, second) in enumerate(TEXTS):
        inputs = tokenizer(first, second, return_tensors="pt")
        tensors[f"{index}/input_ids"] = inputs["input_ids"][0].int()
        tensors[f"{index}/token_type_ids"] = inputs["token_type_ids"][0].int()
        attentions = model(**inputs, output_attentions=True).attentions
        tensors[f"{index}/probabilities"] = f32(torch.cat(attentions))
    save_file(tensors, HERE / "attention_minilm.safetensors")


def main():
    torch.set_num_threads(1)
    with torch.no_grad():
        tensors = {"bert/probabilities": f32(hugging_face())}
        for case in ("relative_untied_mask", "absolute_untied_mask"):
            probabilities, added = own(case)
            tensors[f"{case}/probabilities"] = f32(probabilities)
            if added is not None:
                tensors[f"{case}/by_distance"] = f32(added)
        save_file(tensors, HERE / "attention.safetensors")
        if len(sys.argv) > 1:
            minilm(sys.argv[1])


if __name__ == "__main__":
    main()
