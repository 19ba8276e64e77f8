"""The playground: whom one may ask, and one or two answers beside each other.

Nothing of what is asked stays here: a conversation travels with its page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmlab.client.sources import TEXT_SUFFIXES, Source
from llmlab.console.answering import Answered, Marked
from llmlab.console.arriving import LONGEST_FORM
from llmlab.console.asked import Choice, Kind, Turn, choices, kind_of
from llmlab.console.desk import Desk
from llmlab.console.pages import Page, Query
from llmlab.console.visitor import Visitor
from llmlab.errors import UsageError

PATH, TEXTS = "playground", Path("configs", "texts")


@dataclass(frozen=True)
class Shown:
    """What became of one of those that were asked; ``marked`` and ``code`` of an answer only."""

    choice: Choice
    answered: Answered | None = None
    error: tuple[str, str] | None = None
    marked: Marked | None = None
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Playground:
    """What the page shows.

    Args:
        choices: whom one may ask for this.
        texts: of the lab, by name.
        form: what is in the fields.
        turns: the conversation before what ``shown`` holds.
    """

    kind: Kind
    choices: tuple[Choice, ...]
    texts: tuple[str, ...]
    form: Query
    turns: tuple[Turn, ...] = ()
    said: str = ""
    shown: tuple[Shown, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Whom one may ask, and what for; never what is in the fields."""
        return {
            "kind": str(self.kind),
            "choices": [asdict(one) | {"price": one.price.model_dump()} for one in self.choices],
            "texts": list(self.texts),
        }


def gather(desk: Desk, query: Query, visitor: Visitor) -> Playground:
    """
    Raises:
        UsageError: there is no such kind or text.
        UpstreamError: the lab does not run.
    """
    del visitor
    kind = kind_of(query)
    found = tuple(one for one in choices(desk.record.plan()) if one.can(kind))
    texts = _texts(desk)
    form = {name: query[name] for name in ("one", "two") if name in query}
    if found:
        form.setdefault("one", next((one for one in found if one.name == kind), found[0]).key)
    if name := query.get("text"):
        if name not in texts:
            raise UsageError(f"there is no text {name!r} in {TEXTS}", fix="choose one of those")
        form["said"] = Source(name, desk.lab.root / TEXTS / name).read()[:LONGEST_FORM]
    return Playground(kind, found, texts, form)


def _texts(desk: Desk) -> tuple[str, ...]:
    folder = desk.lab.root / TEXTS
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(one.name for one in found if one.suffix in TEXT_SUFFIXES and one.is_file())


PAGES = (Page(PATH, "Playground", "playground.html.j2", gather),)
