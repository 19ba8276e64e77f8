"""json.md: what each verb prints with `-o json`, from the types of its documents."""

from __future__ import annotations

from typing import Any

from llmlab.reference.documents import UNTYPED, documents
from llmlab.reference.markdown import anchor, code, page, table, text
from llmlab.reference.shapes import inner, shape, words

INTRODUCTION = """With `-o json` a verb prints one JSON document on stdout, and nothing else there:
progress, notes and errors go to stderr, and the [exit code](exit-codes.md) is as without it.
Times are in seconds and sizes in bytes where nothing else is said, shares from 0 to 1 and weights
in percent. New keys may come with a new version."""
BY_HAND = """These documents are described in short. `{a: [{b}]}` is an object whose `a` is a list
of objects with a `b`."""


def markdown() -> str:
    known = documents()
    found = _shapes(list(known.values()))
    names = _names(found)
    links = {one: f"[{name}](#{anchor(name)})" for one, name in names.items()}
    verbs = [
        (", ".join(_verb(verb) for verb, other in known.items() if other == hint),
         words(hint, links))
        for hint in dict.fromkeys(known.values())
    ]  # fmt: skip
    by_hand = [(_verb(verb), said) for verb, said in UNTYPED.items()]
    return page(
        "What -o json prints",
        INTRODUCTION,
        "## By verb",
        table(("verb", "document"), verbs),
        BY_HAND,
        table(("verb", "document"), by_hand),
        "## Types",
        *(_section(names[one], one, links) for one in sorted(found, key=lambda one: names[one])),
    )


def _verb(verb: str) -> str:
    name = verb.partition(" --")[0]
    return f"[{code(verb)}](verbs.md#{anchor(f'llmlab {name}')})"


def _shapes(hints: list[Any]) -> list[Any]:
    """All that they are made of."""
    found: dict[Any, None] = {}
    while hints:
        for one in inner(hints.pop(0)):
            if one not in found:
                found[one] = None
                hints += [key.type for key in shape(one).keys]
    return list(found)


def _names(found: list[Any]) -> dict[Any, str]:
    """Each type's name; where two have the same, with the package that it is of before it."""
    names: dict[Any, str] = {}
    for one in found:
        name = shape(one).name.removesuffix("Document")
        alike = [other for other in found if shape(other).name.removesuffix("Document") == name]
        if len({shape(other) for other in alike}) > 1:
            name = f"{_package(one).capitalize()}{name}"
        names[one] = name
    return names


def _package(one: Any) -> str:
    module: str = one.__module__
    return module.split(".")[1]


def _section(name: str, one: Any, links: dict[Any, str]) -> str:
    shown = shape(one)
    # Of types that are joined, those that have a section of their own need not be repeated.
    parts = getattr(one, "parts", ())
    there = [part for part in parts if part in links]
    keys = [key for part in parts if part not in links for key in shape(part).keys]
    rows = [
        (code(key.name) + ("" if key.always else " (not always)"), words(key.type, links),
         text(key.said))
        for key in (keys if parts else shown.keys)
    ]  # fmt: skip
    sentences = [text(shown.said[:1].upper() + shown.said[1:])]
    sentences += [f"All keys of {links[part]}, and these:" for part in there]
    said = " ".join(one for one in sentences if one)
    return "\n\n".join(
        part for part in (f"### {name}", said, table(("key", "type", "what it is"), rows)) if part
    )
