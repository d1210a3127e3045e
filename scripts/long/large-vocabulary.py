"""The side of scripts/long/large-vocabulary that PyTorch computes.

    large-vocabulary.py make FOLDER              FOLDER/model, FOLDER/texts.txt, FOLDER/torch.npy
    large-vocabulary.py compare FOLDER DEVICE    a row: device, versions, texts, the least cosine of FOLDER/vectors.npy
"""

import pathlib
import random
import sys

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

VOCABULARY = 250_037
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make(folder: pathlib.Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        # Large enough that layers matter.
        initializer_range=0.1,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    words = SPECIALS + [f"w{number}" for number in range(len(SPECIALS), VOCABULARY)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIALS))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names)
    model.save_pretrained(folder / "model")
    fast.save_pretrained(folder / "model")

    choose = random.Random(0)
    ids = [5, VOCABULARY - 1, VOCABULARY // 3, 87_381, 87_382, 174_763]
    texts = [
        " ".join(f"w{choose.choice(ids + [choose.randrange(5, VOCABULARY)])}" for _ in range(choose.randint(1, 200)))
        for _ in range(64)
    ]
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    vectors = []
    with torch.no_grad():
        for text in texts:
            encoded = fast(text, return_tensors="pt")
            mean = model(**encoded).last_hidden_state.mean(dim=1)
            vectors.append(torch.nn.functional.normalize(mean, dim=-1)[0].numpy())
    np.save(folder / "torch.npy", np.stack(vectors))


def compare(folder: pathlib.Path, device: str) -> None:
    theirs, ours = (np.load(folder / name).astype(np.float64) for name in ("torch.npy", "vectors.npy"))
    assert theirs.shape == ours.shape, (theirs.shape, ours.shape)
    cosines = (theirs * ours).sum(axis=1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(ours, axis=1)
    # A wrong row must show: texts are no neighbours of each other.
    others = (theirs[1:] * ours[:-1]).sum(axis=1)
    assert others.max() < 0.99, others.max()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(device, versions, len(cosines), f"{cosines.min():.9f}", sep="\t")
    sys.exit(not cosines.min() >= 0.99999)


if __name__ == "__main__":
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "make":
        make(folder)
    else:
        compare(folder, sys.argv[3])
