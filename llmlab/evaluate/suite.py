"""Suites: the texts and conversations that models are judged by, one JSON object a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import UsageError
from llmlab.evaluate import checks as checking
from llmlab.evaluate import conversations
from llmlab.evaluate.checks import Checks, checks_of
from llmlab.evaluate.conversations import Message, asked, messages_of
from llmlab.evaluate.facts import Fact, is_sayable
from llmlab.lab import lab_file
from llmlab.near import hint

FOLDER = Path("configs", "suites")  # in a lab; where a suite's name is looked up
# What a model is given, exactly one of them: a text to summarize, or what it is asked.
GIVEN = ("text", "prompt", "messages")
FACTS = ("must_mention", "must_not_mention")
FIELDS = ("id", *GIVEN, "reference", *FACTS, *checking.FIELDS)
UNCHECKED = Checks()
SHOWN = 10  # problems of a file that one error names


@dataclass(frozen=True, slots=True)
class Case:
    """What a model is given, and what a good answer to it is.

    Args:
        id: Unique in its suite.
        text: What is summarized; "" of a conversation.
        reference: A good answer, by hand.
        must_mention: Facts an answer has to mention, each as its possible spellings.
        must_not_mention: What it must not say.
        line: Where it stands in its file, from 1.
        messages: What a chat model is asked; empty of a text.
        checks: What the answer is checked for beside that.
    """

    id: str
    text: str
    reference: str | None = None
    must_mention: tuple[Fact, ...] = ()
    must_not_mention: tuple[Fact, ...] = ()
    line: int = 0
    messages: tuple[Message, ...] = ()
    checks: Checks = UNCHECKED

    @property
    def given(self) -> str:
        """The text, or what was said so far, for people."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return self.text or "\n\n".join(f"{one.role}: {one.content}" for one in self.messages)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite as it was read. ``digest`` is "sha256:<64 hex digits>" of the file."""

    name: str
    cases: tuple[Case, ...]
    digest: str

    @property
    def chats(self) -> bool:
        """Whether any of it is a conversation."""
        return any(case.messages for case in self.cases)


class SuiteError(UsageError):
    """A suite cannot be found, or is not as it must be; says the file, line and field."""


class Wrong(Exception):
    """A line is not as it must be: what is wrong, each "FIELD: why"."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


Prepare = Callable[[dict[str, Any], int], dict[str, Any]]


def as_it_is(found: dict[str, Any], _: int) -> dict[str, Any]:
    """A line that has the fields of a suite already."""
    return found


def find_suite(name: str, root: Path) -> Path:
    """The file that a suite's name or path means.

    Args:
        name: The path of a file, or the name of one in ``configs/suites`` of the lab.
        root: The lab's folder.

    Raises:
        SuiteError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = root / FOLDER
    inside = folder / f"{name}.jsonl"
    if path.name == name and inside.is_file():
        return inside
    known = sorted(file.stem for file in folder.glob("*.jsonl"))
    if path.name == name and lab_file(f"{FOLDER}/{name}.jsonl").is_file():
        # Of a lab that was laid out before there was such a suite.
        raise SuiteError(
            f"there is no suite {name} in {folder}",
            fix=f"llmlab init {root} lays out what a lab of this version has",
        )
    raise SuiteError(
        f"there is no file {name}, and no suite of that name in {folder}{hint(name, known)}",
        fix=f"name one of {', '.join(known)}, or a .jsonl file" if known else "name a .jsonl file",
    )


def load_suite(file: Path, prepare: Prepare = as_it_is) -> Suite:
    """Read and check a suite.

    Blank lines are skipped. Everything else must be an object of the ``FIELDS``, with a
    unique ``id`` and exactly one of ``GIVEN``: a ``text`` that has a word, or what is asked.

    Args:
        prepare: called with each object and its line first; may change what it is, or raise
            ``Wrong``.

    Raises:
        SuiteError: names each line and field that is wrong (the first ``SHOWN``).
    """
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")  # not splitlines: U+2028 is text
    except OSError as error:
        raise SuiteError(f"{file} cannot be read: {error.strerror}", fix=f"ls -l {file}") from None
    except UnicodeDecodeError as error:
        place = content.count(b"\n", 0, error.start) + 1
        raise SuiteError(f"{file}:{place}: not UTF-8", fix="save the file as UTF-8") from None
    cases, problems = _read(lines, prepare)
    if problems:
        shown = [f"{file}:{problem}" for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            shown.append(f"and {len(problems) - SHOWN} more")
        raise SuiteError(
            "\n".join(shown), fix=f"correct {file}, then llmlab models suite lint {file}"
        )
    if not cases:
        raise SuiteError(
            f"{file} has no case, and no data proves nothing",
            fix='write one {"id": "...", "text": "..."} or {"id": "...", "prompt": "..."} a line',
        )
    return Suite(file.stem, tuple(cases), f"sha256:{hashlib.sha256(content).hexdigest()}")


def _read(lines: list[str], prepare: Prepare) -> tuple[list[Case], list[str]]:
    cases: list[Case] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            case = _case(prepare(_parsed(line), number), number)
        except Wrong as wrong:
            problems += [f"{number}: {text}" for text in wrong.problems]
            continue
        if case.id in seen:
            problems.append(f"{number}: id: {case.id!r} is the id of line {seen[case.id]} already")
        seen.setdefault(case.id, number)
        cases.append(case)
    return cases, problems


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise Wrong(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise Wrong("not a case: nested too deeply") from None
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise Wrong("not JSON: a number with too many digits") from None
    if not isinstance(found, dict):
        raise Wrong(f"should be an object with id and text, not {_kind(found)}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Wrong(f"{next(one for one in names if names.count(one) > 1)}: is there twice")
    return found


def _case(found: Mapping[str, Any], line: int) -> Case:
    problems = [*_problems(found)]
    if problems:
        raise Wrong(*problems)
    if found.get("messages") is not None:
        messages = messages_of(found["messages"])
    else:
        messages = asked(found["prompt"]) if found.get("prompt") is not None else ()
    return Case(
        id=found["id"],
        text=found.get("text") or "",
        reference=found.get("reference"),
        must_mention=_facts(found.get("must_mention")),
        must_not_mention=_facts(found.get("must_not_mention")),
        line=line,
        messages=messages,
        checks=checks_of(found),
    )


def _facts(found: list[str | list[str]] | None) -> tuple[Fact, ...]:
    return tuple((one,) if isinstance(one, str) else tuple(one) for one in found or ())


def _problems(found: Mapping[str, Any]) -> Iterator[str]:
    for name in found:
        if name not in FIELDS:
            yield f"{name}: unknown field{hint(name, FIELDS)}"
    yield from _id_problems(found.get("id"))
    yield from _given_problems(found)
    if found.get("reference") is not None:
        yield from _text_problems("reference", found["reference"])
    for name in FACTS:
        if found.get(name) is not None:
            yield from _facts_problems(name, found[name])
    yield from checking.problems(found)


def _id_problems(found: Any) -> Iterator[str]:
    if found is None:
        yield "id: is missing"
    elif not isinstance(found, str) or not found.strip():
        yield f"id: should be a text such as 'f5-founding', not {_kind(found)}"
    elif not found.isprintable() or len(found) > 100:
        yield "id: should have at most 100 characters, all of them printable"


def _given_problems(found: Mapping[str, Any]) -> Iterator[str]:
    given = [name for name in GIVEN if found.get(name) is not None]
    if not given:
        yield "text: is missing; of a conversation, prompt or messages"
    for name in given[1:]:
        yield f"{name}: there is {given[0]} already, and a case has one of {', '.join(GIVEN)}"
    for name in ("text", "prompt"):
        if name in given:
            yield from _text_problems(name, found[name])
    if "messages" in given:
        yield from conversations.problems(found["messages"])


def _text_problems(name: str, found: Any) -> Iterator[str]:
    if not isinstance(found, str):
        yield f"{name}: should be a text, not {_kind(found)}"
    elif not _is_unicode(found):
        yield f"{name}: holds half of a surrogate pair, so it is no Unicode text"
    elif not is_sayable(found):
        yield f"{name}: has no word in it"


def _facts_problems(name: str, found: Any) -> Iterator[str]:
    if not isinstance(found, list):
        yield f"{name}: should be a list of texts or of lists of spellings, not {_kind(found)}"
        return
    for at, fact in enumerate(found):
        spellings = fact if isinstance(fact, list) else [fact]
        if not spellings:
            yield f"{name}/{at}: has no spelling"
        for spelling in spellings:
            if not isinstance(spelling, str):
                yield f"{name}/{at}: should be a text or a list of spellings, not {_kind(spelling)}"
            elif not _is_unicode(spelling) or not is_sayable(spelling):
                yield f"{name}/{at}: {spelling!r} has no word or number, so it is never found"


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _kind(found: Any) -> str:
    names = {
        dict: "an object", list: "a list", str: "an empty text", bool: "true or false",
        int: "a number", float: "a number", type(None): "null",
    }  # fmt: skip
    return names[type(found)]
