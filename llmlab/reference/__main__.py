"""`python -m llmlab.reference FOLDER`: write the pages that are not as the code has them."""

from __future__ import annotations

import argparse
from pathlib import Path

from llmlab.reference.configuration import lab_toml
from llmlab.reference.pages import write, write_one

parser = argparse.ArgumentParser(prog="python -m llmlab.reference", description=__doc__)
parser.add_argument("docs", type=Path, metavar="FOLDER", help="where the pages are, such as docs")
parser.add_argument("--lab-toml", type=Path, metavar="FILE", help="write the defaults there, too")
asked = parser.parse_args()
written = write(asked.docs)
if asked.lab_toml and write_one(asked.lab_toml, lab_toml()):
    written.append(asked.lab_toml)
for file in written:
    print(file)
