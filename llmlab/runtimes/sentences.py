"""Where one sentence ends and the next begins, in prose, lists, lines and any script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from nupunkt.models import load_default_model

from llmlab.terminals import STOP, is_ended

LONGEST = 1000  # characters of a sentence; what is longer and stands on lines is no prose

# What stands before a sentence and belongs to it: "## ", "- ", "2. ", "(iv) ", "- a) ".
LEAD = re.compile(
    r"(?P<mark>(?:#{1,6}|[-*•‣◦▪]) )?"
    r"(?P<number>[(（]?(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivx]{1,5}|[IVX]{1,5})[.)）] )?"
)
_FIRST = re.compile(r"[(（]?(?:1[.)）]|[aAiI][)）]) |i\. ")  # the number of a list's first item
_HEADING = re.compile(r"#{1,6} ")
_RULE = re.compile(r"([-=_*~])\1\1+")
# Punkt's time grows with the square of a run without spaces; one this long is no prose.
_UNBROKEN = re.compile(r"(?<!\S)(\S{1000,})")
_PUNKT = load_default_model()  # not nupunkt.load(): any caller may alter the one it shares


def split_sentences(text: str) -> Iterator[str]:
    """The sentences of a text in order, white space collapsed. Nothing else is left out.

    Blank lines, headings, rules and the items of a list end one in any case; other ends of
    lines do where the text is made of lines (a chat, a log, a table) and not of prose.
    """
    for block in _blocks(text.replace("\u2029", "\n\n").splitlines()):
        yield from _of_block(block)


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """The lines that may share a sentence, white space collapsed."""
    block: list[str] = []
    for raw in lines:
        line = " ".join(raw.split())
        alone = not line or _HEADING.match(line) or _RULE.fullmatch(line)
        if block and (alone or _begins_item(line, block)):
            yield block
            block = []
        if not alone:
            block.append(line)
        elif line:
            yield [line]
    if block:
        yield block


def _begins_item(line: str, block: list[str]) -> bool:
    """Whether a line begins an item of a list. Prose may be wrapped before "12." too, so a
    number needs a sign: what came before has ended, or is an item, or this is the first."""
    lead = _lead(line)
    if lead["mark"] or not lead["number"]:
        return bool(lead["mark"])
    return _is_closed(block[-1]) or bool(_lead(block[0])["number"]) or bool(_FIRST.match(line))


def _of_block(block: list[str]) -> Iterator[str]:
    if _has_heading(block):
        yield from _in_prose(block[0])
        block = block[1:]
    if len(block) > 1 and not _are_lines(block):
        prose = list(_in_prose(" ".join(block)))
        if max(map(len, prose)) <= LONGEST:
            yield from prose
            return
    for line in block:
        yield from _in_prose(line)


def _has_heading(block: list[str]) -> bool:
    """Whether the first line is a heading: it does not end, and yet it stops far from where
    the next ones do, though what comes begins anew."""
    if len(block) < 2 or _is_closed(block[0]) or not block[1][0].isupper():
        return False
    return _stops_early(block[0], block[1], max(map(len, block[1:])))


def _are_lines(block: list[str]) -> bool:
    """Whether lines are what they say one by one, and not wrapped prose: most stop early,
    and few end as a sentence or a clause does."""
    if len(block) < 3:
        return False
    # The longest may hold an address that no line could break.
    width = sorted(map(len, block))[-2 - len(block) // 10]
    early = sum(_stops_early(line, after, width) for line, after in pairwise(block))
    return 2 * early >= len(block) and 4 * sum(map(_is_closed, block)) <= len(block)


def _stops_early(line: str, after: str, width: int) -> bool:
    """Whether the first word of the next line would have had room in this one, by far."""
    word = after.find(" ") if " " in after else len(after)
    return len(line) + 1 + word <= 0.8 * width


def _is_closed(line: str) -> bool:
    return is_ended(line) or line[-1] in ",;:"


def _lead(line: str) -> re.Match[str]:
    found = LEAD.match(line)
    assert found  # each part may be missing
    return found


def _in_prose(text: str) -> Iterator[str]:
    """The sentences of a block, what stands before the first one with it."""
    lead = _lead(text)[0]
    for sentence in _after_lead(text[len(lead) :]):
        yield lead + sentence
        lead = ""
    if lead:
        yield lead.strip()


def _after_lead(text: str) -> Iterator[str]:
    start = 0
    for stop in (*(found.end() for found in STOP.finditer(text)), len(text)):
        for part in _UNBROKEN.split(text[start:stop].strip()):
            if _UNBROKEN.match(part):
                yield part
            else:
                yield from _PUNKT.texts(part)
        start = stop
