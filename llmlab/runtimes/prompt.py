"""A prompt: how a chat model is asked for a summary. A template with variables, and no code.

    # system
    You summarize texts.

    # user
    Summarize this in {{max_words}} words: {{text}}

Both parts are sent as messages. The system's may be left out. Only the first-level headings
`system` and `user` mean something; everything below them is said as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmlab.errors import UsageError
from llmlab.near import hint

HEADING = re.compile(r"^# (system|user)[ \t]*$", re.MULTILINE)
VARIABLE = re.compile(r"\{\{([^{}\n]*)\}\}")
# What a template may ask for.
TEXT, MAX_WORDS, MIN_WORDS = "text", "max_words", "min_words"
KNOWN = (TEXT, MAX_WORDS, MIN_WORDS)
# English prose has some 1.3 tokens a word in the vocabularies of language models.
TOKENS_A_WORD = 1.3

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The two parts of a template, with their variables in them."""

    system: str
    user: str

    @classmethod
    def parse(cls, document: str, where: str = "the prompt") -> Prompt:
        """
        Args:
            where: what to call it in an error.

        Raises:
            UsageError: it has no part for the user, a part twice, something before the first
                part, or a variable that there is not.
        """
        before, *rest = HEADING.split(document.lstrip("\ufeff"))
        parts = dict(zip(rest[::2], rest[1::2], strict=True))
        if before.strip():
            raise _wrong(where, "it says something before its first heading")
        if len(parts) * 2 != len(rest):
            raise _wrong(where, "it has a part twice")
        if "user" not in parts:
            raise _wrong(where, "it has no part `# user`")
        for name in _variables(document):
            if name not in KNOWN:
                known = ", ".join(KNOWN)
                raise _wrong(where, f"there is no variable {name!r}, only {known}"
                             + hint(name, KNOWN))  # fmt: skip
        if TEXT not in _variables(parts["user"]):
            raise _wrong(where, "its part `# user` does not hold {{text}}")
        return cls(parts.get("system", "").strip(), parts["user"].strip())

    def messages(self, text: str, *, max_length: int, min_length: int = 0) -> list[Message]:
        """What the model is sent.

        Args:
            max_length, min_length: of the summary, in tokens.
        """
        values = {
            TEXT: text,
            MAX_WORDS: str(max(1, int(max_length / TOKENS_A_WORD))),
            MIN_WORDS: str(int(min_length / TOKENS_A_WORD)),
        }

        def filled(part: str) -> str:
            # In one pass: what the text says is never read as a template.
            return VARIABLE.sub(lambda found: values[found[1].strip()], part)

        said = [("system", filled(self.system)), ("user", filled(self.user))]
        return [{"role": role, "content": content} for role, content in said if content]


def _variables(part: str) -> list[str]:
    return [found.strip() for found in VARIABLE.findall(part)]


def _wrong(where: str, why: str) -> UsageError:
    return UsageError(
        f"{where} is no prompt: {why}",
        fix="a line `# user`, and below it what is said to the model, with {{text}} in it",
    )
