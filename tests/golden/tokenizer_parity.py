"""Checks that Python's `tokenizers` gives the ids that `wgrad` gives, on raw text.

    pip install tokenizers
    python tests/golden/tokenizer_parity.py TOKENIZER_DIR [NUMBER_OF_RANDOM_TEXTS]

Gets our ids from `cargo run --example tokenizer_ids`. Exits with 1 and shows the texts that differ, if any.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

TEXTS = [
    "",
    " ",
    "\n",
    " \t\u00a0\u2003 ",
    "The quick brown fox jumps over the lazy dog.",
    "the [MASK] sat on the mat",
    "[MASK][MASK] [CLS] x [SEP] [PAD] [UNK]",
    "[mask] [Mask] [MASK",
    "Não há solução: ação, coração, às três, avô e avó, pingüim.",
    "Nao ha soluc\u0327a\u0303o: ac\u0327a\u0303o",
    "Ünïcödé façade naïve rôle Ångström Straße Łódź Ørsted Æsir œuvre đồng",
    "STRASSE ẞ ß ﬁ ﬂ ﬀ ½ ² ³ ™ ℡ ㎏ Ⅷ",
    "İstanbul ISTANBUL ıstanbul",
    "Привет, мир! Ёлка и йод.",
    "Γειά σου Κόσμε ΣΊΣΥΦΟΣ",
    "שָׁלוֹם עוֹלָם",
    "السَّلَامُ عَلَيْكُمْ ١٢٣",
    "नमस्ते दुनिया १२३",
    "ภาษาไทย ๑๒๓",
    "日本語のテキスト、漢字とカタカナ。",
    "中文分词测试，没有空格。",
    "한국어 텍스트 각",
    "\u1112\u1161\u11ab",
    "ｆｕｌｌ　ｗｉｄｔｈ　１２３",
    "emoji 😀 👍🏽 👩‍👩‍👧‍👦 🇧🇷 ❤️ ☺",
    "digits 0123456789 3.14 1,000,000 1e-5 0x1F",
    "symbols !@#$%^&*()_+-=[]{}|;':\",./<>?`~",
    "curly ‘quotes’ “double” «guillemets» – en — em … ellipsis",
    "don't can't won't it's we're they'll",
    "a\nb\r\nc\rd\n\n\ne",
    "  leading and trailing  \n",
    "line one\n   \n  line two  \n\t\nline three",
    "tab\tseparated\tvalues",
    "nul\x00inside\x01control\x1f\x7f\x85next",
    "zero\u200bwidth\u200djoiner\ufeffbom\u00adsoft",
    "line\u2028separator\u2029paragraph\x0bvt\x0cff",
    "\ufffd replacement \ufffd",
    "private \ue000 use \U000f0000",
    "snake_case camelCase kebab-case CONSTANT_CASE",
    "https://example.com/path?query=1&b=2#frag",
    "user@example.com",
    "C++ and C# and F# and .NET",
    "## hash ##ing #",
    "a" * 300,
    "ab" * 5000,
    "combining a" + "\u0301" * 50 + " end",
    "\u0301 leading mark",
    "ǅ ǆ Ǆ ĳ ŉ ſ",
    "x² + y³ = z⁴, H₂O, 10 µm, Ω Ω K",
    "ÀÈÌÒÙàèìòùÁÉÍÓÚáéíóúÂÊÎÔÛâêîôûÃÕãõÇç",
    "𝒽𝑒𝓁𝓁𝑜 𝕨𝕠𝕣𝕝𝕕 🄷🄴🄻🄻🄾",
    "Ǻ ḗ ṩ ạ̈ q̣̇",
    "१२ ½ Ⅳ ④ 〇 一二三",
    "\u0e33 \u0eb3 \u0f73",
]


def noise(count: int) -> list[str]:
    """Strings of random characters, most of them near the ordinary ones."""
    random.seed(1)
    ranges = [(0, 0x7F), (0x20, 0x7F), (0x80, 0x250), (0x250, 0x2FFF), (0x3000, 0xD7FF), (0x1F300, 0x1FAFF)]
    pick = lambda: chr(random.randint(*random.choice(ranges)))
    return ["".join(pick() for _ in range(random.randint(1, 60))) for _ in range(count)]


def main() -> int:
    folder = Path(sys.argv[1])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # wgrad cuts and pads on its own, whatever the file says.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = TEXTS + noise(int(sys.argv[2]) if len(sys.argv) > 2 else 500)
    command = ["cargo", "run", "--quiet", "--example", "tokenizer_ids", "--", str(folder)]
    ours = json.loads(subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True).stdout)
    wrong = 0
    for index, (text, ids) in enumerate(zip(texts, ours, strict=True)):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        with_specials = tokenizer.encode(text).ids
        if ids != [expected, with_specials]:
            wrong += 1
            print(f"{index}: {text!r}\n  Python {expected}\n  wgrad  {ids[0]}")
    print(f"{len(texts)} texts ({len(TEXTS)} chosen, the rest random), {wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
