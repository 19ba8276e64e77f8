"""Documents that verbs print as JSON, by their types: what has which keys, and whether a document
that was really printed is one.

Types are dataclasses (of which ``asdict`` is printed), TypedDicts and pydantic's models (dumped
whole); and what `llmlab.reference.documents` makes of them.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)  # fmt: skip

from pydantic import BaseModel

from llmlab.reference.documents import Joined, Measured

ATOMS: dict[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "true or false", Any: "anything",
    object: "anything", types.NoneType: "null",
}  # fmt: skip
PLURAL = {str: "strings", int: "integers", float: "numbers"}


@dataclass(frozen=True)
class Key:
    """``always``: whether the key is there even where there is nothing to say."""

    name: str
    type: Any
    always: bool
    said: str


@dataclass(frozen=True)
class Shape:
    """A type with keys."""

    name: str
    said: str
    keys: tuple[Key, ...]


def is_shape(one: Any) -> bool:
    return get_origin(one) is Measured or (isinstance(one, type) and (
        issubclass(one, Joined | BaseModel) or is_typeddict(one) or dataclasses.is_dataclass(one)
    ))  # fmt: skip


@cache
def shape(one: Any) -> Shape:
    if get_origin(one) is Measured:
        (figures,) = get_args(one)
        found = shape(figures)
        keys = tuple(dataclasses.replace(key, type=_measured(key.type)) for key in found.keys)
        return dataclasses.replace(found, keys=keys)
    said, of_keys = docstring(one)
    if issubclass(one, Joined):
        return Shape(
            one.__name__, said, tuple(key for each in one.parts for key in shape(each).keys)
        )
    hints = get_type_hints(one, include_extras=True)
    names = list(hints)
    if dataclasses.is_dataclass(one):
        names = [each.name for each in dataclasses.fields(one)]
    elif issubclass(one, BaseModel):
        names = list(one.model_fields)
    keys = tuple(
        Key(name, _bare(hints[name]), get_origin(hints[name]) is not NotRequired,
            of_keys.get(name, ""))
        for name in names
    )  # fmt: skip
    return Shape(one.__name__, said, keys)


def _bare(hint: Any) -> Any:
    while get_origin(hint) in (NotRequired, Annotated):
        hint = get_args(hint)[0]
    return hint


def _measured(hint: Any) -> Any:
    """The type of what is printed, where a NaN becomes null."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is float:
        return float | None
    if is_shape(hint):
        return Measured[hint]
    if origin in (Union, types.UnionType):
        return Union[tuple(_measured(one) for one in args)]  # noqa: UP007  of a tuple
    if _is_mapping(origin) or _is_list(origin):
        return types.GenericAlias(
            origin, tuple(one if one is Ellipsis else _measured(one) for one in args)
        )
    return hint


def docstring(one: type) -> tuple[str, dict[str, str]]:
    """(what it says of the whole, {key: what it says of it under ``Args:``})."""
    text = inspect.cleandoc(one.__doc__ or "")
    if dataclasses.is_dataclass(one) and text.startswith(f"{one.__name__}("):
        text = ""  # dataclass's own
    whole, _, arguments = text.partition("Args:")
    said: dict[str, str] = {}
    for entry in re.split(r"\n(?=[\w, ]+: )", f"\n{inspect.cleandoc(arguments)}"):
        names, colon, what = entry.strip().partition(": ")
        if colon:
            said |= dict.fromkeys(names.split(", "), _plain(what))
    return _plain(whole.replace("\n\n", " ")), said


def _plain(text: str) -> str:
    return re.sub(r"\b(nan|None)\b", "null", " ".join(text.split()).replace("``", "`"))


# --- what a type is called ----------------------------------------------------------------


def inner(hint: Any) -> Iterator[Any]:
    """The shapes that a type is made of, itself included."""
    hint = _bare(hint)
    if is_shape(hint):
        yield hint
    else:
        for one in get_args(hint):
            yield from inner(one)


def words(hint: Any, link: Mapping[Any, str]) -> str:
    """A type in a few words.

    Args:
        link: {shape: how to name it}.
    """
    hint = _bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if is_shape(hint):
        return link[hint]
    if hint in ATOMS:
        return ATOMS[hint]
    if origin is Literal:
        return " or ".join(f'`"{one}"`' for one in args)
    if origin in (Union, types.UnionType):
        return " or ".join(words(one, link) for one in args)
    if _is_mapping(origin):
        return f"{{{words(args[0], link)}: {words(args[1], link)}}}"
    if _is_list(origin):
        several = origin is tuple and args[-1] is not Ellipsis
        if several:
            return f"[{', '.join(words(one, link) for one in args)}]"
        return f"list of {PLURAL.get(args[0]) or words(args[0], link)}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f'`"{one.value}"`' for one in hint)
    raise TypeError(f"no words for {hint!r}")


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_list(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


# --- whether a document is one --------------------------------------------------------------


def misfits(document: Any, hint: Any, where: str = "it") -> list[str]:
    """What of a document is not as its type says; [] if all of it is."""
    hint = _bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if is_shape(hint):
        return _misfits_of_keys(document, shape(hint), where)
    if origin in (Union, types.UnionType):
        found = [misfits(document, one, where) for one in args]
        return [] if [] in found else min(found, key=len)
    if _is_mapping(origin):
        if not isinstance(document, dict):
            return [f"{where}: {document!r} is no object"]
        return [
            problem
            for key, one in document.items()
            for problem in misfits(one, args[1], f"{where}.{key}")
        ]
    if _is_list(origin):
        if not isinstance(document, list):
            return [f"{where}: {document!r} is no list"]
        kinds = args if origin is tuple and args[-1] is not Ellipsis else args[:1] * len(document)
        if len(kinds) != len(document):
            return [f"{where}: it has {len(document)} items, not {len(kinds)}"]
        pairs = zip(document, kinds, strict=True)
        return [
            problem
            for number, (one, kind) in enumerate(pairs)
            for problem in misfits(one, kind, f"{where}.{number}")
        ]
    if _is_one(document, hint, args):
        return []
    return [f"{where}: {document!r} is not {words(hint, {})}"]


def _misfits_of_keys(document: Any, wanted: Shape, where: str) -> list[str]:
    if not isinstance(document, dict):
        return [f"{where}: {document!r} is no {wanted.name}"]
    known = {key.name: key for key in wanted.keys}
    missing = [name for name, key in known.items() if key.always and name not in document]
    return [
        *(f"{where}: {wanted.name} has no {name}" for name in document if name not in known),
        *(f"{where}: {name} of {wanted.name} is missing" for name in missing),
        *(
            problem
            for name, one in document.items()
            if name in known
            for problem in misfits(one, known[name].type, f"{where}.{name}")
        ),
    ]


def _is_one(document: Any, hint: Any, args: tuple[Any, ...]) -> bool:
    if hint in (Any, object):
        return True
    if get_origin(hint) is Literal:
        return document in args
    if hint is types.NoneType:
        return document is None
    if hint is float:
        return isinstance(document, int | float) and not isinstance(document, bool)
    if hint is int:
        return isinstance(document, int) and not isinstance(document, bool)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return document in [one.value for one in hint]
    return isinstance(document, hint)
