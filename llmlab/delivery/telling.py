"""Entries of the ledger in words, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmlab.delivery.ledger import Entry
from llmlab.models.identity import short_id

TRAFFIC = "traffic"  # a whole document, in every entry that changes it
LONGEST = 200


def told(entry: Entry) -> str:
    """What happened, in one line."""
    tell = TELLING.get(entry.kind, _members)
    try:
        return tell(entry.document)
    except (KeyError, TypeError, ValueError, AttributeError):  # of another version
        return _members(entry.document)


def _key(document: Mapping[str, Any]) -> str:
    demo = ", published" if document.get("demo") else ""
    return f"{document['kid']} ({document['alg']}{demo}) {document['did']}"


def _lab(document: Mapping[str, Any]) -> str:
    if document["did"] != "up":
        return str(document["did"])
    running = ", ".join(
        f"{name} {short_id(one['model_id'])}" for name, one in document["deployments"].items()
    )
    return f"up at {document['url']} ({document['engine']}): {running}"


def _drill(document: Mapping[str, Any]) -> str:
    drill = document["drill"]
    if drill is None:
        return f"off for {document['deployment']}"
    return f"{drill['kind']} for {document['deployment']}{_rest(drill, 'kind')}"


def _flag(document: Mapping[str, Any]) -> str:
    definition = document["definition"]
    name = document["flag"]
    if definition is None:
        return f"{name} is gone"
    who = [f"{claim}={value}" for claim, value in definition["audience"]]
    who += [f"{definition['percent']:g} %"] if definition["percent"] else []
    does = [f"to {definition['deployment']}"] if definition["deployment"] else []
    does += [f"{key}={value}" for key, value in definition["decoding"].items()]
    return f"{name} is on for {', '.join(who) or 'nobody'}" + (
        f"; {', '.join(does)}" if does else ""
    )


def _rest(document: Mapping[str, Any], *but: str) -> str:
    told = ", ".join(f"{key}={value}" for key, value in document.items() if key not in but)
    return f", {told}" if told else ""


def _members(document: Mapping[str, Any]) -> str:
    text = f"{document.get('did', '')}{_rest(document, TRAFFIC, 'did')}".removeprefix(", ")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


TELLING: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "key": _key, "lab": _lab, "drill": _drill, "flag": _flag,
}  # fmt: skip
