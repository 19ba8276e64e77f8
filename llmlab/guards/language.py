"""An answer in another language than its request (py3langid, offline, 4.5 MB with its model).

It is a statistical guess, so it speaks up only where there is prose enough, where the guess is
clear, and where the request names no language: who asks for a translation gets one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llmlab.guards.base import About, Finding, Guard
from llmlab.guards.linear import compiled, plain
from llmlab.languages import LONGEST, guess, known, scores

LABEL = "language"
# By so much, for each character, a language has to be likelier than the one that is wanted:
# natural logarithms, see py3langid. Neighbours such as Danish and Norwegian are closer.
MARGIN = 0.4
# What is no prose, and would read as English wherever it stands.
_NO_PROSE = re.compile(
    r"(?s:```.*?(?:```|\Z))|`[^`\n]*`|https?://\S+|^[ \t]*[$>#{}<|;].*$|^.*[{};]$", re.MULTILINE
)
# A request that names a language, or a translation, is not held to its own: by RE2.
_NAMES = (
    r"(?i)\b(?:english|german|french|spanish|italian|portuguese|dutch|danish|swedish|norwegian|"
    r"finnish|polish|czech|slovak|hungarian|romanian|bulgarian|croatian|serbian|slovenian|greek|"
    r"turkish|russian|ukrainian|arabic|hebrew|persian|farsi|hindi|urdu|thai|vietnamese|indonesian|"
    r"malay|swahili|japanese|chinese|mandarin|korean|latin|catalan|estonian|latvian|lithuanian|"
    r"translat|tradu[ci]|tradui|vertaal|language|sprache|langue|idioma|lingua|englisch|deutsch|"
    r"spanisch|italienisch|anglais|allemand|espagnol|italien|ingl[eé]s|inglese|ingl[eê]s|alem[aá]n|"
    r"tedesco|alemão|franc[eé]s|francese|español|spagnolo|espanhol|português|engels|duits|frans)|"
    r"(?i)übersetz|französisch|français|översätt|tłumacz|перевед|переклад|翻译|翻譯|翻訳|번역|"
    r"英語|英语|中文|日本語|한국어|영어|ترجم|แปล|अनुवाद"
)


class Language(Guard):
    """
    Args:
        languages: those that are allowed; none for the request's own.
        least: characters of prose that it takes to tell.

    Raises:
        ValueError: one is no language that can be told.
    """

    labels, quick = (LABEL,), True

    def __init__(self, languages: Sequence[str] = (), least: int = 120) -> None:
        for one in languages:
            if one not in known():
                raise ValueError(f"languages: {one!r} is no language that can be told (ISO 639-1)")
        self._allowed = tuple(languages)
        self._least = self.step = least
        self.longest = self.context = 2 * least

    def find(self, text: str, about: About) -> Iterable[Finding]:
        wanted = self._allowed or self._asked_in(about.asked)
        prose = _prose(text[-2 * self.context :])[-self.context :]
        if wanted and len(prose) >= self._least and is_another(prose, wanted):
            # It has no place, so it has the newest: what has left before is past help.
            return [Finding(len(text) - 1, len(text), LABEL)]
        return []

    def pending(self, text: str) -> int:
        """What was looked at may leave: a language that turns later is seen by a later look."""
        return len(text)

    def _asked_in(self, asked: str) -> tuple[str, ...]:
        prose = _prose(asked[-LONGEST:])
        if compiled(_NAMES).search(plain(asked[-LONGEST:])) or len(prose) < 20:
            return ()
        found = guess(prose, "en")
        # Of a short question the guess may be wrong; it is one only if it is clear.
        return (found,) if found and is_another(prose, (), besides=found) else ()


def is_another(prose: str, wanted: Sequence[str], *, besides: str = "") -> bool:
    """Whether prose is in none of these languages, and clearly so.

    Args:
        besides: whether it is in this one, and clearly in no other.
    """
    likely = scores(prose)
    best = max(likely.values())
    if besides:
        others = [score for name, score in likely.items() if name != besides]
        return likely[besides] - max(others) > MARGIN * len(prose) * 0.75
    held = [likely[one] for one in wanted if one in likely]
    return bool(held) and best - max(held) > MARGIN * len(prose)


def _prose(text: str) -> str:
    return " ".join(_NO_PROSE.sub(" ", text).split())
