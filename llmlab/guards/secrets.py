"""Keys and tokens, by the formats that their makers gave them.

Found is what has the format, the right alphabet and, where there is one, the right check digits:
a text about keys has none of these. What merely looks random is found only where it is assigned
to a name such as ``api_key``.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llmlab.guards.base import About, Finding, Guard
from llmlab.guards.checksums import crc_base62
from llmlab.guards.escapes import found_in, pending_in
from llmlab.guards.linear import compiled, plain

Match = re.Match[str]
LONGEST_KEY = 16_000  # characters of a private key in PEM; 4096 bits of RSA have 3,300
LONGEST_TOKEN = 9_600
UNBROKEN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=~"
_OWN_END = r"(?![A-Za-z0-9_-])"


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of key.

    Args:
        begins: literals, one of which every key of this kind has; cheap to look for.
        is_one: what else must hold of a match.
        part: the group of it that is the key; 0 for all.
    """

    label: str
    begins: tuple[str, ...]
    pattern: re.Pattern[str]
    is_one: Callable[[Match], bool] = lambda _: True
    part: int | str = 0


def _signed(match: Match) -> bool:
    """The head of a JWT names an algorithm (RFC 7515)."""
    head = match[0].partition(".")[0]
    try:
        said = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and isinstance(said.get("alg"), str)


def _random(match: Match) -> bool:
    return entropy(match["value"]) >= 3.0 and len(set(match["value"])) >= 10


FORMATS = (
    # An id of AWS is base 32; the one of its documentation ends with EXAMPLE.
    Format("aws", ("AKIA", "ASIA"),
           re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
           lambda match: not match[0].endswith("EXAMPLE")),
    Format("aws", ("ecret", "ECRET"),
           re.compile(r"(?i:aws_?secret_?(?:access_?)?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
                      r"(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
           lambda match: _random(match) and "EXAMPLE" not in match["value"], "value"),
    Format("github", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
           re.compile(r"(?<![A-Za-z0-9])gh[pousr]_(?P<value>[A-Za-z0-9]{36})" + _OWN_END),
           lambda match: crc_base62(match["value"])),
    Format("github", ("github_pat_",),
           re.compile(r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9]{22}_(?P<value>[A-Za-z0-9]{59})"
                      + _OWN_END), _random),
    Format("npm", ("npm_",),
           re.compile(r"(?<![A-Za-z0-9])npm_(?P<value>[A-Za-z0-9]{36})" + _OWN_END),
           lambda match: crc_base62(match["value"])),
    Format("gitlab", ("glpat-",),
           re.compile(r"(?<![A-Za-z0-9])glpat-(?P<value>[A-Za-z0-9_-]{20})" + _OWN_END), _random),
    Format("slack", ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"),
           re.compile(r"(?<![A-Za-z0-9])xox[abprs]-(?:\d{10,13}-){1,3}"
                      r"(?P<value>[A-Za-z0-9]{24,64})" + _OWN_END), _random),
    Format("slack", ("hooks.slack.com/services/",),
           re.compile(r"hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/"
                      r"(?P<value>[A-Za-z0-9]{24})(?![A-Za-z0-9])"), _random),
    # In the middle of OpenAI's stands its name in base 64.
    Format("openai", ("T3BlbkFJ",),
           re.compile(r"(?<![A-Za-z0-9])sk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,100}|"
                      r"[A-Za-z0-9]{20})T3BlbkFJ[A-Za-z0-9_-]{20,100}" + _OWN_END)),
    Format("anthropic", ("sk-ant-",),
           re.compile(r"(?<![A-Za-z0-9])sk-ant-[a-z]{2,8}\d{2}-(?P<value>[A-Za-z0-9_-]{80,120})"
                      + _OWN_END), _random),
    Format("llmlab", ("sk-llmlab-",),
           re.compile(r"(?<![A-Za-z0-9])sk-llmlab-(?P<value>[A-Za-z0-9_-]{24,120})" + _OWN_END),
           _random),
    Format("google", ("AIza",),
           re.compile(r"(?<![A-Za-z0-9_-])AIza(?P<value>[A-Za-z0-9_-]{35})" + _OWN_END), _random),
    Format("stripe", ("sk_live_", "rk_live_"),
           re.compile(r"(?<![A-Za-z0-9])[sr]k_live_(?P<value>[A-Za-z0-9]{24,250})" + _OWN_END),
           _random),
    Format("huggingface", ("hf_",),
           re.compile(r"(?<![A-Za-z0-9])hf_(?P<value>[A-Za-z]{34})" + _OWN_END), _random),
    Format("jwt", ("eyJ",),
           re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{8,6000}\."
                      r"[A-Za-z0-9_-]{16,1400}" + _OWN_END), _signed),
    # With no letters behind its head it is a text about such keys.
    Format("private-key", ("PRIVATE KEY",),
           re.compile(r"-----BEGIN (?:[A-Z]{2,9} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])*"
                      r"(?:[A-Za-z-]{2,20}: [^\n]{0,100}\n\s*){0,5}"
                      rf"[A-Za-z0-9+/]{{24}}[A-Za-z0-9+/=\s\\]{{40,{LONGEST_KEY - 400}}}"
                      r"(?:-----END [A-Z ]{0,30}-----)?")),
)  # fmt: skip

_NAMED = r"(?:api|access|auth|secret|private|client|signing|encryption|bearer)"
_VALUE = r"[A-Za-z0-9+/_=~!@#%^&*-]"
_ASSIGNS = r"[\"']?\s{0,3}(?::=|=>|[:=])\s{0,3}[\"']?"
_ASSIGNED = re.compile(
    rf"(?i:{_NAMED}[_-]?(?:key|token|secret)|(?<![A-Za-z])pass(?:word|wd)){_ASSIGNS}"
)
# Looked at apart, and not taken, for it may hold the name of the next one. A text of nothing but
# assignments would be one long search otherwise, during which no other thread runs.
_ASSIGNS_IT = re.compile(rf"{_VALUE}{{20,200}}+(?![A-Za-z0-9+/_=~!@#%^&*.(\[-])")
_SOME_ASSIGNED = rf"(?i:(?:key|token|secret|password|passwd)){_ASSIGNS}{_VALUE}{{20}}"
# What such an assignment may end with, before all of its value is there.
_ASSIGNING = re.compile(
    rf"(?i:{_NAMED}|pass)[A-Za-z_-]{{0,8}}[\"']?\s{{0,3}}[:=]{{0,2}}>?\s{{0,3}}[\"']?"
    r"[A-Za-z0-9+/_=~!@#%^&*-]{0,201}\Z"
)
_WORDY = re.compile(r"[a-z]{7}|[A-Z]{9}|(?i:example|sample|dummy|placeholder|change.?me|redacted|"
                    r"your|xxxx|\*\*\*\*|1234|abcd|test)")  # fmt: skip
_TWO_DIGITS = re.compile(r"\d\D*\d")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
LABELS = tuple(dict.fromkeys([*(one.label for one in FORMATS), "assignment"]))


def entropy(text: str) -> float:
    """Shannon's, in bits a character, of how often each of its characters is there."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)


def is_random(value: str) -> bool:
    """Whether somebody drew it rather than wrote it: letters and digits mixed, no words."""
    if not _TWO_DIGITS.search(value):  # what most values fail by, told at once
        return False
    value = value.rstrip("=")
    letters = sum(char.isalpha() for char in value)
    if letters < 3 or _WORDY.search(value) or _UUID.fullmatch(value):
        return False
    hexadecimal = all(char in "0123456789abcdefABCDEF" for char in value)
    return entropy(value) >= (3.2 if hexadecimal and len(value) >= 32 else 3.7)


class Secrets(Guard):
    """
    Args:
        find: labels of the formats to look for; all of them if there are none.

    Raises:
        ValueError: there is no such format.
    """

    longest, context, step, quick = LONGEST_KEY + 1, 64, 1, True

    def __init__(self, find: Sequence[str] = ()) -> None:
        for one in find:
            if one not in LABELS:
                raise ValueError(f"find: there is no format {one!r}, only {', '.join(LABELS)}")
        self.labels = tuple(find) or LABELS
        self._formats = [one for one in FORMATS if one.label in self.labels]
        self._assignments = "assignment" in self.labels
        self._any = compiled(self._sieve())
        self._begins = tuple(dict.fromkeys(
            begin for one in self._formats for begin in one.begins if not one.part
        ))  # fmt: skip

    def _sieve(self) -> str:
        """What has to be somewhere in a text that any of the formats is in."""
        begins = [re.escape(begin) for one in self._formats for begin in one.begins]
        return "|".join([*begins, *([_SOME_ASSIGNED] if self._assignments else [])])

    def find(self, text: str, about: About) -> Iterable[Finding]:
        return found_in(text, self._found)

    def _found(self, text: str) -> list[Finding]:
        if not self._any.search(plain(text)):
            return []
        found = [
            Finding(*match.span(one.part), one.label)
            for one in self._formats
            if any(begin in text for begin in one.begins)
            for match in one.pattern.finditer(text)
            if one.is_one(match)
        ]
        if self._assignments:
            found += self._assigned(text, found)
        return found

    def _assigned(self, text: str, known: Sequence[Finding]) -> Iterator[Finding]:
        for name in _ASSIGNED.finditer(text):
            match = _ASSIGNS_IT.match(text, name.end())
            if match is None:
                continue
            start, end = match.span()
            told = any(one.start <= start and end <= one.end for one in known)
            if not told and is_random(match[0]):
                yield Finding(start, end, "assignment")

    def pending(self, text: str) -> int:
        return pending_in(text, self._pending)

    def _pending(self, text: str) -> int:
        """Where the last unbroken run of characters begins, if it may be one of those keys; or an
        assignment, or a private key, in which there are spaces."""
        newest = text[-LONGEST_TOKEN:]
        offset = len(text) - len(newest)
        run = newest.rstrip(UNBROKEN)
        starts = [place for begin in self._begins if (place := newest.find(begin, len(run))) >= 0]
        # All but the longest beginning is certain to be none.
        start = max(len(run), len(newest) - max(map(len, self._begins), default=0))
        if starts:  # in front of T3BlbkFJ stands some of OpenAI's key, of which we know no place
            start = len(run) if "T3BlbkFJ" in newest[len(run) :] else min(starts)
        sk = newest.find("sk-", len(run))
        start = min([start, *([sk] if sk >= 0 else [])]) + offset
        tail = max(0, len(text) - 280)
        if assigning := _ASSIGNING.search(text, tail):
            start = min(start, assigning.start())
        if "-" in text[-LONGEST_KEY:]:
            start = min(start, _open_pem(text))
        return start


_PEM_HEAD = re.compile(r"-{1,5}(?:B(?:E(?:G(?:I(?:N[A-Z ]{0,40}-{0,4})?)?)?)?)?\Z")
# Of a key that is not all there: its head, and as much of the rest as there may be.
_PEM_BODY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}-----(?:\s|\\[nr]?)*(?:[A-Za-z-]{2,20}: [^\n]{0,100}(?:\n\s*|\Z)){0,5}"
    r"(?:[A-Za-z0-9+/-]{0,23}|[A-Za-z0-9+/]{24}[A-Za-z0-9+/=\s\\]*(?:-{1,5}[A-Z ]{0,40}-{0,4})?)\Z"
)


def _open_pem(text: str) -> int:
    """Where a private key begins that has not ended."""
    start = text.rfind("-----BEGIN ", max(0, len(text) - LONGEST_KEY))
    if start >= 0 and "PRIVATE KEY" in text[start : start + 48] and _PEM_BODY.match(text, start):
        return start
    head = _PEM_HEAD.search(text, max(0, len(text) - 64))
    return head.start() if head else len(text)
