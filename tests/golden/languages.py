"""Writes languages_ids.json: the ids that Python's `tokenizers` gives for the sentences of languages.json.

    WGRAD=target/release/wgrad python3 tests/golden/languages.py

For each language and each way of cleaning, the program trains a tokenizer on the sentence, written five times, and
Python's library encodes the sentence with the file.
"""

import json
import os
import pathlib
import subprocess
import tempfile

from tokenizers import Tokenizer

here = pathlib.Path(__file__).parent
wgrad = os.path.abspath(os.environ["WGRAD"])
ids = []
with tempfile.TemporaryDirectory() as folder:
    for row in json.loads((here / "languages.json").read_text()):
        text = pathlib.Path(folder, "text.txt")
        text.write_text((row["text"] + "\n") * 5)
        found = {"language": row["language"]}
        for name, options in [("default", []), ("keep_accents", ["--keep-accents"])]:
            out = pathlib.Path(folder, row["language"] + name)
            command = [wgrad, "tokenizer", "train", text, "--vocab-size", "400", "--out", out, *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            found[name] = Tokenizer.from_file(str(out / "tokenizer.json")).encode(row["text"], add_special_tokens=False).ids
        ids.append(found)
lines = ",\n".join(json.dumps(row) for row in ids)
(here / "languages_ids.json").write_text(f"[\n{lines}\n]\n")
