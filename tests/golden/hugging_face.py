"""Writes `hugging_face/`, a small random BERT as `transformers` saves it, and `hugging_face.safetensors`, what it
computes.

    python tests/golden/hugging_face.py

Needs torch, transformers and tokenizers. Computes in f64, without dropout, from weights that f32 holds exactly;
stores f32. The file holds (B = 3 sequences of T = 40 tokens: one full pair, one of 23, one of a single token)
    input_ids, token_type_ids [B, T]         i32
    lengths [B]                              i32; the rest is padding, which no token attends to
    masked_rows [M], labels [M]              i32; row b·T + t, and the token to predict there
    hidden/<layer> [B, T, C]                 after the embeddings (0) and after each layer; zeros in padding
    pooled [B, C], upstream [B, C]           tanh(dense(first token)), and a gradient for it
    logits [M, V], loss [1]                  mean cross entropy in nats
    gradients/<name>                         of that loss
    pooled_gradients/<name>                  of the sum of pooled · upstream
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForPreTraining

HERE = Path(__file__).parent
FOLDER = HERE / "hugging_face"
TOKENS = 40
LENGTHS = (TOKENS, 23, 1)
MASKED = ((2, 3, 11, 17, 30, 38), (1, 9, 10, 20, 21, 22), (0,))
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_tokenizer(vocabulary):
    tokens = [*SPECIALS, *(f"w{id}" for id in range(len(SPECIALS), vocabulary))]
    tokenizer = Tokenizer(
        models.WordPiece({token: id for id, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIALS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def make_model(random):
    # The vocabulary is no multiple of 4, the width no multiple of 64, and the inner width not four times it, so
    # that an assumption of any of these shows.
    config = BertConfig(
        vocab_size=61,
        hidden_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=48,
        attn_implementation="eager",
    )
    model = BertForPreTraining(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Larger than a real initialisation, so that no gradient is tiny.
            value = 0.2 * torch.randn(weight.shape, generator=random, dtype=torch.float64)
            weight.copy_(1 + value / 2 if name.endswith("LayerNorm.weight") else value)
    return model


def make_batch(vocabulary, random):
    input_ids = torch.zeros(len(LENGTHS), TOKENS, dtype=torch.int64)
    types = torch.zeros_like(input_ids)
    rows, labels = [], []
    for b, (length, masked) in enumerate(zip(LENGTHS, MASKED)):
        words = torch.randint(len(SPECIALS), vocabulary, (length,), generator=random)
        words[0] = SPECIALS.index("[CLS]")
        if length > 1:
            words[-1] = SPECIALS.index("[SEP]")
        for index, t in enumerate(masked):
            rows.append(b * TOKENS + t)
            labels.append(
                torch.randint(len(SPECIALS), vocabulary, (), generator=random).item()
            )
            if index % 3 != 2:  # every third one keeps a word
                words[t] = SPECIALS.index("[MASK]")
        input_ids[b, :length] = words
    types[0, 25:] = 1
    return input_ids, types, torch.tensor(rows), torch.tensor(labels)


def gradients(model, objective):
    model.zero_grad()
    objective.backward(retain_graph=True)
    named = model.named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


def main():
    torch.set_num_threads(1)
    model = make_model(torch.Generator().manual_seed(1))
    FOLDER.mkdir(exist_ok=True)
    model.save_pretrained(FOLDER)
    make_tokenizer(model.config.vocab_size).save(str(FOLDER / "tokenizer.json"))

    model = model.double()
    random = torch.Generator().manual_seed(2)
    input_ids, types, rows, labels = make_batch(model.config.vocab_size, random)
    mask = torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None]
    output = model(
        input_ids, attention_mask=mask.long(), token_type_ids=types, output_hidden_states=True
    )
    pooled = model.bert(input_ids, attention_mask=mask.long(), token_type_ids=types).pooler_output
    logits = output.prediction_logits.flatten(0, 1)[rows]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    upstream = torch.randn(pooled.shape, generator=random, dtype=torch.float64).float().double()

    tensors = {
        "input_ids": input_ids.int(),
        "token_type_ids": types.int(),
        "lengths": torch.tensor(LENGTHS).int(),
        "masked_rows": rows.int(),
        "labels": labels.int(),
        "pooled": pooled,
        "upstream": upstream,
        "logits": logits,
        "loss": loss.reshape(1),
    }
    for layer, state in enumerate(output.hidden_states):
        tensors[f"hidden/{layer}"] = state * mask[:, :, None]
    for prefix, objective in (("", loss), ("pooled_", (pooled * upstream).sum())):
        for name, gradient in gradients(model, objective).items():
            tensors[f"{prefix}gradients/{name}"] = gradient
    tensors = {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in tensors.items()
    }
    path = HERE / "hugging_face.safetensors"
    save_file(tensors, path)
    for written in (path, *FOLDER.iterdir()):
        written.chmod(0o644)
    sizes = {written.name: written.stat().st_size for written in (path, *FOLDER.iterdir())}
    print(json.dumps(sizes), f"loss {loss.item():.6f}")


if __name__ == "__main__":
    main()
