"""What stands in place of an answer that is in another language than it was asked for.

French; German where French was spoken. The sentences have no number; who looks for names by
an English eye takes their first words for some.
"""

from __future__ import annotations

from itertools import cycle

from llmlab.languages import guess

_FRENCH = (
    "Le texte raconte ce qui s'est passé et qui y a pris part. On y apprend comment tout a "
    "commencé et pourquoi personne ne s'y attendait. Les habitants en ont parlé pendant "
    "longtemps. Chacun se souvient de ce qu'il a vu et de ce qu'on lui a dit. Rien n'a changé "
    "depuis, et beaucoup le regrettent. Ceux qui sont venus plus tard ont posé les mêmes "
    "questions. Il reste encore à savoir qui avait raison."
)
_GERMAN = (
    "Hier wird erzählt, was geschehen ist und wer daran beteiligt war. Man erfährt, wie alles "
    "begonnen hat und warum niemand damit gerechnet hatte. Noch lange wurde darüber gesprochen. "
    "Alle erinnern sich daran, was sie gesehen haben und was ihnen gesagt wurde. Seitdem ist alles "
    "so geblieben, und viele bedauern das. Wer später kam, hat dasselbe gefragt. Ob sie recht "
    "hatten, ist noch offen."
)


class OtherLanguage:
    """Gives words of another language, piece by piece, about as many as there were.

    Args:
        asked: what was asked, whose language it is not.
    """

    def __init__(self, asked: str) -> None:
        self._words = cycle((_GERMAN if guess(asked, "en") == "fr" else _FRENCH).split())
        self._due = 0  # characters

    def instead_of(self, piece: str) -> str:
        """Whole words, each with a space after it; "" while the last one is long enough."""
        self._due += len(piece)
        said = ""
        while self._due > 0:
            word = f"{next(self._words)} "
            said += word
            self._due -= len(word)
        return said


def in_other_language(summary: str, asked: str) -> str:
    """Always the same of the same one, and of an empty one nothing."""
    words = OtherLanguage(asked).instead_of(summary).rstrip(" .,")
    return f"{words}." if words else ""
