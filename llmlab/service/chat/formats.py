"""Whether an answer is of the format that was asked for: JSON, of a schema, or calls of tools.

The schema is a client's, and what is held against it a model's: where it is one that is not taken,
or is too much for so long an answer (see ``json_schemas``), only whether it is JSON is judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from llmlab.json_schemas import LONGEST, parsed, taken
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.chat.tools import offered


@dataclass(frozen=True)
class Format:
    """What a request asks of the form of its answer.

    Args:
        is_json: the text has to be JSON.
        schema: that it has to fit, as JSON; "" for any.
        tools: names that calls may have.
    """

    is_json: bool = False
    schema: str = ""
    tools: frozenset[str] = frozenset()

    @classmethod
    def of(cls, asked: object) -> Format | None:
        """None where it may be of any."""
        if not isinstance(asked, ChatRequest):
            return None
        tools = frozenset(one.name for one in offered(asked)) if asked.offers_tools else frozenset()
        wanted = asked.response_format
        if wanted is None or wanted.type == "text":
            return cls(tools=tools) if tools else None
        schema = wanted.json_schema.schema_ if wanted.json_schema else {}
        return cls(True, json.dumps(schema) if schema else "", tools)

    def broken_by(
        self, text: str, calls: Iterable[tuple[str, str]], *, share: int = 1
    ) -> bool | None:
        """Whether an answer that came to its end is of another form; None where nothing can be
        said, as of one in words beside tools that it need not call.

        Args:
            calls: (name, arguments) of each.
            share: of how many that are looked at together it is one.
        """
        there = list(calls)
        if there:
            return any(name not in self.tools or not _is_object(said) for name, said in there)
        if not self.is_json or len(text) > LONGEST:
            return None
        return not fits(text, self.schema, share=share)


def fits(text: str, schema: str, *, share: int = 1) -> bool:
    """Whether a text is JSON, nothing around it, and fits a schema as far as that is looked at."""
    try:
        document = parsed(text)
    except ValueError:
        return False
    try:
        return not schema or taken(schema).fits(document, len(text), share=share) is not False
    except ValueError:  # it is none, or is not taken
        return True


def _is_object(text: str) -> bool:
    try:
        return len(text) <= LONGEST and isinstance(parsed(text), dict)
    except ValueError:
        return False
