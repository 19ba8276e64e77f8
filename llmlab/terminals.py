"""What ends a sentence: one table for cutting a text and for telling a sentence from a heading."""

from __future__ import annotations

import re

# Unicode 18.0, PropList.txt: Sentence_Terminal, as code points.
_SENTENCE_TERMINAL = """
0021 002e 003f 0589 061d-061f 06d4 0700-0702 07f9 0837 0839 083d-083e 0964-0965 104a-104b 1362
1367-1368 166e 1735-1736 17d4-17d5 1803 1809 1944-1945 1aa8-1aab 1b4e-1b4f 1b5a-1b5b 1b5e-1b5f
1b7d-1b7f 1c3b-1c3c 1c7e-1c7f 2024 203c-203d 2047-2049 2cf9-2cfb 2e2e 2e3c 2e53-2e54 2e60-2e61
3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe12
fe15-fe16 fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048
110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 113d4-113d5
1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c
11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16d6e-16d6f 16e98 1bc9f
1da88
"""


def _characters(table: str) -> str:
    spans = [[int(code, 16) for code in span.split("-")] for span in table.split()]
    return "".join(chr(code) for span in spans for code in range(span[0], span[-1] + 1))


TERMINALS = _characters(_SENTENCE_TERMINAL)
_ELLIPSIS = "…"  # ends a sentence or stands within one: it does not cut
_CLOSING = "\"'”’」』）)]*»›"  # what may stand behind the end

# Greek asks with what Unicode cannot tell from a semicolon.
_GREEK = "\u0300-\u036f\u0370-\u03ff\u1f00-\u1fff"
_GREEK_QUESTION = rf"(?<=[{_GREEK}][{_GREEK}])[;\u037e]"
_GREEK_CAPITAL = "\u0386\u0388-\u038f\u0391-\u03ab"

_POINTS = "\u2024\ufe52\uff0e"  # they look like "." and stand in numbers and names as well
_SURE = re.escape("".join(one for one in TERMINALS if one not in ".!?" + _POINTS))
# The ends that need no knowledge of a language; "." "!" and "?" do.
STOP = re.compile(
    rf"(?:(?:[{_SURE}]|[{_POINTS}](?![0-9A-Za-z０-９Ａ-Ｚａ-ｚ]))[{_SURE}{_POINTS}.!?\ufe0f]*"
    rf"|{_GREEK_QUESTION}(?=[»”’)]*\s+[«“‘\"'(–—-]*[{_GREEK_CAPITAL}]))"
    r"[」』”’）)\]»›]*(?:[\"']+(?!\S))?"
)
_ASKS_IN_GREEK = re.compile(rf"{_GREEK_QUESTION}$")


def is_ended(text: str) -> bool:
    """Whether a text ends as a sentence does, whatever closes behind it."""
    bare = text.rstrip(_CLOSING + "\ufe0f")
    return bare.endswith((*TERMINALS, _ELLIPSIS)) or bool(_ASKS_IN_GREEK.search(bare[-3:]))
