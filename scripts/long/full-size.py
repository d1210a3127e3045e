"""The side of scripts/long/full-size that Python computes.

    full-size.py unpack FOLDER         puts the five pieces of all-mpnet-base-v2 together
    full-size.py compare FOLDER WGRAD  a row for each comparison: model, parameters, with what, texts, tokens of the longest,
                                       least cosine, largest difference
"""

import gc
import io
import json
import pathlib
import subprocess
import sys
import zipfile

import numpy as np

MODEL = "all-mpnet-base-v2"
TEXTS = [
    "A man is eating food.",
    "Um homem está a comer um pão com manteiga na cozinha da avó!",
    "The quick brown fox jumps over the lazy dog; 1,000 other foxes don't, won't and can't (2024).",
    "данные были получены вчера, 今日は天気がいい",
    "a",
    " ".join(f"The {number}th sentence of a text that is longer than the model reads goes on and on." for number in range(30)),
]


def unpack(folder):
    pieces = []
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as members:
            [piece] = [name for name in members.namelist() if ".zip." in name]
            pieces.append(members.read(piece))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as whole:
        wanted = [name for name in whole.namelist() if not name.endswith("desktop.ini")]
        whole.extractall(folder, members=wanted)


def embed(wgrad, folder, texts, *options):
    # A text may have line ends, and begin with a dash.
    lines = "\n".join(texts)
    command = [wgrad, "embed", "--model", str(folder), "--precision", "f32", "--input", "-", *options]
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return np.array([json.loads(line)["embedding"] for line in done.stdout.splitlines()])


def row(name, model, what, texts, longest, found, exact):
    exact = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = (found * exact).sum(1) / np.linalg.norm(found, axis=1)
    parameters = sum(weight.numel() for weight in model.parameters())
    difference = abs(found - exact).max()
    print(name, parameters, what, len(texts), longest, f"{cosines.min():.9f}", f"{difference:.1e}", sep="\t", flush=True)


def mpnet(folder, wgrad):
    import sentence_transformers
    import torch
    import transformers

    folder = folder / MODEL
    found = embed(wgrad, folder, TEXTS)
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    tokens = max(len(model.tokenizer(text)["input_ids"]) for text in TEXTS)
    tokens = min(tokens, model.max_seq_length)
    exact = model.encode(TEXTS, batch_size=1, convert_to_numpy=True)
    row(MODEL, model, f"sentence-transformers {sentence_transformers.__version__}", TEXTS, tokens, found, exact)
    del model
    # Longer than sentence-transformers lets a text be, and in f64.
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).double().eval()
    exact = []
    with torch.no_grad():
        for text in TEXTS:
            given = tokenizer(text, return_tensors="pt", truncation=True, max_length=384)
            exact.append(model(**given).last_hidden_state[0].mean(0).numpy())
    row(MODEL, model, f"transformers {transformers.__version__}, f64", TEXTS, tokens, found, np.array(exact))


def xlm_roberta(folder, wgrad):
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = folder / "xlm-roberta-base"
    config = transformers.XLMRobertaConfig(
        vocab_size=250002,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = transformers.XLMRobertaModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [(f"\u2581w{number}", -10.0) for number in range(250002 - 5)]
    tokenizer = Tokenizer(models.Unigram([(token, 0.0) for token in specials] + words + [("<mask>", 0.0)], unk_id=3))
    tokenizer.add_special_tokens([*specials, "<mask>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    texts = ["w0 w249996", "w100000 w7 w200000 w31", " ".join(f"w{number * 7919 % 249997}" for number in range(300))]
    encoded = [tokenizer.encode(text).ids for text in texts]
    exact = []
    with torch.no_grad():
        for ids in encoded:
            exact.append(model(torch.tensor([ids])).last_hidden_state[0].double().mean(0).numpy())
    found = embed(wgrad, folder, texts, "--pooling", "mean")
    what = f"transformers {transformers.__version__}, random weights"
    row("xlm-roberta-base", model, what, texts, max(map(len, encoded)), found, np.array(exact))


def main():
    action, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if action == "unpack":
        unpack(folder)
        return
    mpnet(folder, sys.argv[3])
    gc.collect()
    xlm_roberta(folder, sys.argv[3])


if __name__ == "__main__":
    main()
