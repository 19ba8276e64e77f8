"""What is known of a model, in sections of lines: of a page, and of one for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.delivery.using import Used
from llmlab.durations import duration
from llmlab.models.identity import is_hashed

MIB = 1024 * 1024
# Of an evaluation: those that tell most, as far as the suite measures them.
TELLING = ("coverage", "rougeLsum", "unsupported", "length", "p95")
# By section: what stands in it, and how that is called there. The rest of the facts is said in
# words of its own, or says the same again.
IS = {"runtime": "runtime", "compute_type": "weights as", "license": "licence", "note": "note"}
FROM = {"source": "source", "revision": "revision", "file": "file", "base_url": "asked at",
        "model": "called there", "converted_from": "converted from", "weights": "id of its file",
        "folder": "on this disk"}  # fmt: skip
ANSWERS = {"max_length": "max length", "min_length": "min length", "context": "context",
           "slots": "slots"}  # fmt: skip
ORIGINS = {"hub": "a hub", "wheel": "a Python package", "path": "added from a folder",
           "tuned": "tuned here", "import": "imported from an archive"}  # fmt: skip
MADE = {"parent": "tuned from", "data": "data", "overlap": "overlap", "seed": "seed",
        "parameters": "parameters", "libraries": "libraries"}  # fmt: skip
MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "inconclusive": ("?", "yellow")}


@dataclass(frozen=True, slots=True)
class Row:
    """A line: how deep it stands, its name, and what is said under that name; "" for a heading."""

    depth: int
    name: str
    text: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: tuple[Row, ...]


def sections(facts: Mapping[str, Any], used: Used) -> list[Section]:
    """The page; a section about which nothing is known is left out."""
    record = facts.get("record") or {}
    found = (
        ("what it is", _is(facts, record)),
        ("where from", _from(facts, record)),
        ("how it answers", _answers(facts)),
        ("how it was made", _made(record)),
        ("files", _files(facts, record)),
        ("judged by", [_evaluation(one) for one in record.get("evaluations", ())]),
        ("used", _used(used)),
    )
    return [Section(title, tuple(lines)) for title, each in found if (lines := list(each))]


def _is(facts: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Row]:
    if record:
        yield Row(0, "version", str(record["reference"]))
    if "id" in facts:
        yield Row(0, "id", str(facts["id"]))
        if not is_hashed(str(facts["id"])):
            yield Row(0, "", "of what is asked: what answers elsewhere cannot be hashed")
    elif facts.get("content_id"):
        yield Row(0, "id", f"{facts['content_id']} (wanted)")
    # Of a hub's model that was converted, the record has the id of what was published.
    if record and record["id"] != facts.get("id"):
        yield Row(0, "registered id", str(record["id"]))
    yield from _named({"note": record.get("note"), **facts}, IS)
    if not facts["ready"]:
        yield Row(0, "not ready", str(facts.get("reason", "")), "yellow")
        yield Row(0, "fix", str(facts.get("fix") or ""), "green")
    if record.get("removed"):
        yield Row(0, "removed", str(record["removed"]), "yellow")


def _from(facts: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Row]:
    if origin := ORIGINS.get(str(record.get("source"))):
        yield Row(0, "origin", f"{origin}, {str(record['created'])[:10]}")
    embedded = str(facts["source"]).startswith("embedded:")
    yield from _named(facts if not embedded else {}, FROM)
    if embedded:
        yield Row(0, "source", f"{facts['source']}, part of llmlab")
    if base := record.get("base"):
        at = f" at {base['revision']}" if base["revision"] else ""
        yield Row(0, "base", f"{base['repository']}{at}")
        if base["id"] != record["weights"]:
            yield Row(0, "id of the base", str(base["id"]))


def _answers(facts: Mapping[str, Any]) -> Iterator[Row]:
    if head := facts.get("gguf"):
        yield Row(0, "kind", f"{head['name'] or 'without a name'} ({head['architecture']})")
        yield Row(0, "made for", f"{head['context']:,} tokens")
    yield from rows({ANSWERS[key]: facts[key] or None for key in ANSWERS if key in facts})
    # Of lengths the lab's own count, which stand above, and not those that came with the model.
    decoding = facts.get("decoding") or {}
    yield from rows({key: value for key, value in decoding.items() if key not in ANSWERS})
    for number, line in enumerate((facts.get("prompt_text") or "").strip().splitlines()):
        yield Row(0, "" if number else "prompt", line)


def _made(record: Mapping[str, Any]) -> Iterator[Row]:
    yield from _named(record, MADE)
    if record.get("duration"):
        yield Row(0, "took", duration(record["duration"]))


def _files(facts: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Row]:
    there = facts.get("files") or ()
    total = facts.get("converted_bytes") or sum(one["bytes"] for one in there) or (
        record.get("bytes")
    )  # fmt: skip
    if total:
        yield Row(0, "size", _size(total))
    for one in there:
        yield Row(0, str(one["name"]), _size(one["bytes"]))


def _size(count: int) -> str:
    return f"{count / MIB:,.1f} MiB" if count >= MIB else f"{count:,} bytes"


def _evaluation(one: Mapping[str, Any]) -> Row:
    """``news, 41 texts   ✓ pass coverage>=0.3   coverage 0.630, ...``"""
    metrics = one.get("metrics") or {}
    told = ", ".join(
        f"{name} {metrics[name]['value']:.3g}"
        for name in TELLING
        if metrics.get(name, {}).get("value") is not None
    )
    verdict = one.get("verdict")
    against = f" against {one['baseline']['name']}" if one.get("baseline") else ""
    if verdict:
        mark, style = MARKS.get(verdict["outcome"], (" ", ""))
        judged = f"{mark} {verdict['outcome']} {verdict['gate']}"
    else:
        judged, style = "no gate", ""
    name = f"{one.get('suite', '?')}, {one.get('n', '?')} texts"
    return Row(0, name, f"{judged}{against}" + (f"   {told}" if told else ""), style)


def _used(used: Used) -> Iterator[Row]:
    if used.role:
        yield Row(0, "in lab.toml", used.role)
    if used.aliases:
        yield Row(0, "aliases", ", ".join(used.aliases))
    for number, one in enumerate(used.serving):
        yield Row(0, "" if number else "served by", one)


def _named(facts: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Row]:
    """Those facts that are known, under the names that they have on the page."""
    return rows({names[name]: facts[name] for name in names if name in facts})


def rows(facts: Mapping[str, Any], depth: int = 0) -> Iterator[Row]:
    """The lines of a document: what it has of its own under its name, what is in it below that.
    What says nothing (``""``, None, nothing in a list) has none."""
    for key, value in facts.items():
        if value is None or value == "" or value == [] or value == {} or value == ():
            continue
        name = str(key).replace("_", " ")
        if isinstance(value, Mapping):
            yield Row(depth, name)
            yield from rows(value, depth + 1)
        elif _is_list(value) and any(isinstance(one, Mapping) for one in value):
            yield Row(depth, name)
            for one in value:
                title, text = _in_one_line(one)
                yield Row(depth + 1, title, text)
        else:
            yield Row(depth, name, _told(value))


def _in_one_line(item: Mapping[str, Any]) -> tuple[str, str]:
    """A file, a set of data: its first member is its name."""
    first, *rest = item.items()
    parts = (f"{key.replace('_', ' ')} {_told(value)}" for key, value in rest
             if value not in ("", None))  # fmt: skip
    return _told(first[1]), ", ".join(parts)


def _told(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if value >= 10_000 else str(value)
        case float():
            return f"{value:.4g}"
        case Mapping():
            return "(" + ", ".join(f"{name} {_told(one)}" for name, one in value.items()) + ")"
        case _ if _is_list(value):
            return ", ".join(_told(one) for one in value)
        case _:
            return str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
