"""A text on its way out, piece by piece or at once: nothing leaves before every guard has seen it.

What a guard may still find something in is held back, so a finding that is spread over many
pieces is found as if it had come in one. What has left is remembered for as far back as guards
look. At once is the same with one piece: so a stream and a whole text are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmlab.guards.base import About, Finding, Where
from llmlab.guards.looking import look
from llmlab.guards.rules import Blocked, Rule

# Told of what was found: the rule, its new findings.
Report = Callable[[Rule, Sequence[Finding]], None]


@dataclass(slots=True)
class _Eye:
    """How far one rule has looked. Places count from the beginning of the window's text.

    Args:
        looked: the length of the text when it did.
        clear: up to here it has seen all that begins, and it was acted upon.
    """

    rule: Rule
    looked: int = 0
    clear: int = 0


class Window:
    """Of one text.

    Args:
        asked: of an answer, what it answers.
        found: told of each finding once.
        strict: what would be redacted is blocked: a program reads this, and not a person.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        where: Where,
        found: Report,
        *,
        asked: str = "",
        strict: bool = False,
    ) -> None:
        self._eyes = [_Eye(rule) for rule in rules]
        self._context = max((rule.guard.context for rule in rules), default=0)
        self._where, self._asked, self._found, self._strict = where, asked, found, strict
        self._text = ""
        self._sent = 0  # characters of it that have left
        self._spans: list[Finding] = []  # to be redacted, and not yet left

    async def feed(self, piece: str, *, ended: bool = False) -> str:
        """What may leave now.

        Args:
            ended: nothing comes behind this piece.

        Raises:
            Blocked: nothing may, nor what would come.
            GuardFailed: a guard could not tell.
        """
        self._text += piece
        for eye in self._eyes:
            if ended or len(self._text) - eye.looked >= eye.rule.guard.step:
                await self._look(eye, ended)
        out = self._let_out(min((eye.clear for eye in self._eyes), default=len(self._text)))
        self._forget()
        return out

    async def _look(self, eye: _Eye, ended: bool) -> None:
        seen = await look(eye.rule, self._text, About(self._where, self._asked, ended))
        before, eye.clear = eye.clear, max(eye.clear, seen.pending)
        eye.looked = len(self._text)
        # What begins behind that may turn out to be longer, or none.
        new = [one for one in seen.findings if before <= one.start < eye.clear]
        if not new:
            return
        self._found(eye.rule, new)
        if eye.rule.action == "block" or (self._strict and eye.rule.action == "redact"):
            raise Blocked(eye.rule, new)
        if eye.rule.action == "redact":
            self._spans += new

    def _let_out(self, cut: int) -> str:
        parts, place = [], self._sent
        for span in _merged(self._spans):
            if span.start >= cut:
                break
            if span.end > cut:  # other eyes have not seen all of it
                cut = max(place, span.start)
                break
            if span.end <= place:
                continue
            parts += [self._text[place : max(place, span.start)], f"[{span.label}]"]
            place = span.end
        cut = max(cut, place)
        parts.append(self._text[place:cut])
        self._sent = cut
        self._spans = [one for one in self._spans if one.end > cut]
        return "".join(parts)

    def _forget(self) -> None:
        """Drop what has left, but for what guards look back at."""
        extra = self._sent - self._context
        if extra <= self._context:  # not each time
            return
        self._text, self._sent = self._text[extra:], self._sent - extra
        for eye in self._eyes:
            eye.looked, eye.clear = max(0, eye.looked - extra), max(0, eye.clear - extra)
        self._spans = [
            Finding(max(0, one.start - extra), one.end - extra, one.label) for one in self._spans
        ]


def _merged(spans: Sequence[Finding]) -> list[Finding]:
    """Spans that overlap as one, under the label of the first."""
    found: list[Finding] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if found and span.start < found[-1].end:
            last = found[-1]
            found[-1] = Finding(last.start, max(last.end, span.end), last.label)
        else:
            found.append(span)
    return found
