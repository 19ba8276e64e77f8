"""Entries of the ledger in words, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmlab.ledger.chain import Entry
from llmlab.models.identity import short_id
from llmlab.names import SUMMARIZE

TRAFFIC = "traffic"  # a whole document, in every entry that changes it
LONGEST = 200
WHOLE = 100.0  # percent


def told(entry: Entry) -> str:
    """What happened, in one line."""
    tell = TELLING.get(entry.kind, _members)
    try:
        return tell(entry.document)
    except (KeyError, TypeError, ValueError, AttributeError):  # of another version
        return _members(entry.document)


def _key(document: Mapping[str, Any]) -> str:
    if "api_key" in document:
        return f"API key {document['api_key']} of {document['sub']} {document['did']}"
    if "tokens_of" in document:
        return f"tokens of {document['tokens_of']} {document['did']}"
    demo = ", published" if document.get("demo") else ""
    return f"{document['kid']} ({document['alg']}{demo}) {document['did']}"


def _lab(document: Mapping[str, Any]) -> str:
    if document["did"] == "budgets":
        return f"budgets: {'; '.join(map(_budget, document['budgets'])) or 'none'}"
    if document["did"] != "up":
        return str(document["did"])
    running = ", ".join(
        f"{name} {short_id(one['model_id'])}" for name, one in document["deployments"].items()
    )
    return f"up at {document['url']} ({document['engine']}): {running}"


def _issuers(document: Mapping[str, Any]) -> str:
    now = [f"{name} ({one['issuer']})" for name, one in document["now"].items()]
    return f"tokens are valid of {', '.join(now) or 'no identity provider'}"


def _budget(said: Mapping[str, Any]) -> str:
    limits = [f"{name} {value:g}" for name, value in said.items() if "_per_" in name]
    who = f" of {', '.join(said['who'])}" if said.get("who") else ""
    return f"{said['name']}{who} {', '.join(limits)}{' (shadow)' if said.get('shadow') else ''}"


def _drill(document: Mapping[str, Any]) -> str:
    drill = document["drill"]
    if drill is None:
        return f"off for {document['deployment']}"
    return f"{drill['kind']} for {document['deployment']}{_rest(drill, 'kind')}"


def _recording(document: Mapping[str, Any]) -> str:
    what = f"{document['did']} of {document['recording']}"
    if document["did"] == "stop":
        return what
    if document["did"] == "remove":
        return f"{what}, {document['requests']} requests"
    redacted = "redacted" if document["redacted"] else "not redacted"
    return f"{what}, {document['share']:g} %, {redacted}"


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


def _deployment(document: Mapping[str, Any]) -> str:
    rest = _rest(document, TRAFFIC, "did", "deployment", "model", "replicas")
    model = f" of {document['model']}" if "model" in document else ""
    replicas = f" to {document['replicas']}" if "replicas" in document else ""
    return f"{document['did']} {document['deployment']}{model}{replicas}{rest}"


def _rollout(document: Mapping[str, Any]) -> str:
    number = f"rollout {document['rollout']}"
    if "of" in document:
        names = " and ".join(document["candidates"])
        route = str(document.get("route", SUMMARIZE)).strip("/")
        on = "" if route == SUMMARIZE else f" on {route}"
        return f"{number}: {document['of']} of {names}{on}, beside {document['stable']}"
    return f"{_at_step(document)}: {document['phase']}{_share(document)}"


def _share(document: Mapping[str, Any]) -> str:
    shown = document["phase"] == "progressing" and document["percent"]
    return f", {document['percent']:g} %" if shown else ""


def _verdict(document: Mapping[str, Any]) -> str:
    return f"{_at_step(document)}: {document['outcome']}"


def _at_step(document: Mapping[str, Any]) -> str:
    step = f", step {document['step']}" if document["step"] else ""
    return f"rollout {document['rollout']}{step}"


def _route(document: Mapping[str, Any]) -> str:
    traffic = document[TRAFFIC]
    if "routes" not in traffic:  # of before there were several
        return _ways(traffic)
    several = len(traffic["routes"]) > 1 or SUMMARIZE not in traffic["routes"]
    told = [
        f"{name}: {_ways(route)}" if several else _ways(route)
        for name, route in traffic["routes"].items()
    ]
    return "; ".join(told) or "as in lab.toml"


def _ways(traffic: Mapping[str, Any]) -> str:
    stable = traffic["stable"] or "the stable deployment"
    ways = [f"{one['kind']} {one['name']}={one['value']} to {one['deployment']}"
            for one in traffic["matches"]]  # fmt: skip
    shares = (traffic["split"] or {}).get("shares", ())
    ways += [f"{one['percent']:g} % to {one['deployment']}" for one in shares]
    if sum(one["percent"] for one in shares) < WHOLE:
        ways.append(f"{'the rest' if ways else 'all'} to {stable}")
    if shadow := traffic["shadow"]:
        ways.append(f"copies of {shadow['percent']:g} % to {shadow['deployment']}")
    return ", ".join(ways)


def _upstream(document: Mapping[str, Any]) -> str:
    before = document["before"]
    was = f", before: {_itself(before)}" if before else ""
    more = "; further names within the hour are not told" if document.get("restless") else ""
    return f"{document['deployment']} is answered by {_itself(document)}{was}{more}"


def _itself(said: Mapping[str, Any]) -> str:
    fingerprint = f" ({said['fingerprint']})" if said["fingerprint"] else ""
    return f"{said['model'] or 'a model without a name'}{fingerprint}"


def _rest(document: Mapping[str, Any], *but: str) -> str:
    told = ", ".join(f"{key}={_plain(value)}" for key, value in document.items() if key not in but)
    return f", {told}" if told else ""


def _plain(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _members(document: Mapping[str, Any]) -> str:
    text = f"{document.get('did', '')}{_rest(document, TRAFFIC, 'did')}".removeprefix(", ")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


TELLING: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "key": _key, "lab": _lab, "drill": _drill, "flag": _flag, "recording": _recording,
    "deployment": _deployment, "rollout": _rollout, "verdict": _verdict, "route": _route,
    "upstream": _upstream, "issuers": _issuers,
}  # fmt: skip
