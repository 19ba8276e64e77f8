"""`python -m llmlab.reference FOLDER`: write the pages that are not as the code has them."""

from __future__ import annotations

import sys
from pathlib import Path

from llmlab.reference.pages import write

if len(sys.argv) != 2:
    sys.exit("Usage: python -m llmlab.reference FOLDER, such as docs")
for path in write(Path(sys.argv[1])):
    print(path)
