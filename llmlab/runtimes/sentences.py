"""Where one sentence ends and the next begins, in prose, lists and scripts without spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nupunkt.models import load_default_model

_CJK_STOP = re.compile("[。！？｡]+[」』”’）]*")
_BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*[-*•] )")  # a blank line, or the next item of a list
# Punkt's time grows with the square of a run without spaces; one this long is no prose.
_UNBROKEN = re.compile(r"(?<!\S)(\S{1000,})")
_PUNKT = load_default_model()  # not nupunkt.load(): any caller may alter the one it shares


def split_sentences(text: str) -> Iterator[str]:
    """The sentences of a text in order, white space collapsed. Nothing else is left out."""
    for block in _BLOCK_END.split(_CJK_STOP.sub(r"\g<0>\n\n", text)):
        for part in _UNBROKEN.split(" ".join(block.split())):
            if _UNBROKEN.match(part):
                yield part
            else:
                yield from _PUNKT.texts(part)
