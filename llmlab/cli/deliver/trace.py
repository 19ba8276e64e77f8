from __future__ import annotations

import sys
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.answered import Answer
    from llmlab.delivery.request_logs import Found
    from llmlab.delivery.tracing import History, Traced

LONGEST = 100  # letters of a reason; -o json has all of it
# What X-Cache said. Of an answer that was computed for its request there is nothing to tell.
CACHE = {
    "hit": "hit: the answer to an equal request before",
    "coalesced": "coalesced: read once, together with an equal request",
}


def trace(
    context: typer.Context,
    request_id: Annotated[
        list[str] | None,
        typer.Argument(metavar="REQUEST_ID...", help="As in X-Request-ID; - reads them on stdin."),
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Tell which model served a request, by which route, and how long it took.

    Also of a lab that is down, from its logs. Exit code 1 if a request is in none of them.
    """
    from llmlab.delivery.tracing import trace as traced
    from llmlab.engines.follow import no_logs
    from llmlab.errors import UsageError

    if not request_id:
        raise UsageError(
            "no request was named; the id of each is in the header X-Request-ID of its answer, and "
            "in what `llmlab summarize -o json` prints",
            fix="llmlab trace REQUEST_ID",
        )
    session = Session.of(context)
    given = sys.stdin.read().split() if request_id == ["-"] else request_id
    ids = list(dict.fromkeys(given))
    found = _look(session, ids)
    traces = traced(found, _history(session), ids)
    if output is Format.JSON:
        print_json([one.as_json() for one in traces])
    else:
        for one in traces:
            _show(one)
    known = {one.request_id for one in traces}
    if missing := [one for one in ids if one not in known]:
        if not found.searched:
            raise no_logs("", [])
        _tell_missing(missing, found)
        raise typer.Exit(1)


def _look(session: Session, ids: list[str]) -> Found:
    from llmlab.delivery.request_logs import in_containers, in_files
    from llmlab.engines.choice import running_engine

    found = in_files(session.lab().logs, ids)
    engine = running_engine(session.lab())
    if engine and engine.name == "compose":
        found += in_containers(engine, ids)
    return found


def _history(session: Session) -> History:
    from llmlab.delivery.tracing import History
    from llmlab.engines.record import Record
    from llmlab.errors import UsageError

    registry = session.registry()

    def version(model_id: str) -> str:
        try:
            record = registry.find(model_id)
        except UsageError:  # several have it, or it is no id that a registry gives
            return ""
        return record.reference if record else ""

    record = Record.read(session.lab())
    return History(session.store(), version, stable=record.plan().routes if record else {})


def _show(one: Traced) -> None:
    from llmlab.cli.moments import here
    from llmlab.cli.output import escaped

    console = out()
    mark = "[green]●[/]" if one.status < 400 else "[red]●[/]"
    console.print(
        f"{mark} [bold]{escaped(one.request_id)}[/]  {one.status}  {escaped(one.method)} "
        f"{escaped(one.path)}  {here(one.at, fine=True)}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    rows = {
        "served by": _served_by(one),
        "routed by": routed_by(one),
        "routes of": _entry(one),
        "flags": ", ".join(f"{name} {'on' if on else 'off'}" for name, on in one.flags.items()),
        "subject": one.subject,
        "trace id": one.trace_id,
        "took": timings(one),
        "answer": told(one.answer) if one.answer else "",
        "cache": CACHE.get(one.cache, ""),
    }
    for name, text in rows.items():
        if text:
            console.print(f"  [dim]{name:<9}[/]  {escaped(text)}", highlight=False, soft_wrap=True)


def _served_by(one: Traced) -> str:
    from llmlab.models.identity import short_id

    by = one.served_by
    if not by.deployment:
        return "nobody: the gateway answered by itself"
    model_id = f"@{short_id(by.model_id)}" if by.model_id else ""
    version = f", registered as {by.version}" if by.version else ""
    itself = " ".join(one for one in (by.upstream, by.fingerprint) if one)
    called = f", which called itself {itself}" if itself else ""
    return f"{by.deployment}: {by.model or 'which did not answer'}{model_id}{version}{called}"


def routed_by(one: Traced) -> str:
    """The rule, and the shares only where it went by them."""
    if one.rule in ("stable", "split"):
        return f"{one.route}: {one.rule} ({_weights(one)})"
    if one.rule == "model" or (one.rule and not one.route):  # in the body; in X-Model as well
        return f"{one.rule}: it asks for {one.served_by.deployment} itself"
    return f"{one.route}: {one.rule}, whatever the shares are" if one.rule else ""


def _weights(one: Traced) -> str:
    return ", ".join(f"{name} {percent:g} %" for name, percent in one.weights.items()) or "unknown"


def _entry(one: Traced) -> str:
    if not one.revision:
        return "configs/lab.toml"
    if one.entry is None:
        return f"entry {one.revision} of another ledger"
    step = f", step {one.step}" if one.step else ""
    by = f"rollout {one.rollout}{step}, " if one.rollout else ""
    reason = shorten(one.entry["why"], LONGEST, placeholder=" …")
    why = f": {reason}" if reason else ""
    return f"{by}entry {one.entry['seq']} ({one.entry['kind']}) by {one.entry['who']}{why}"


def timings(one: Traced) -> str:
    took = one.timings
    # NGINX rounds each of its times: a part may come out a millisecond longer than the whole.
    tries = " + ".join(f"{min(seconds, took.total):.3f}" for seconds in took.upstream)
    parts = [f"{took.total:.3f} s", f"upstream {tries} s" if tries else ""]
    parts += [f"in the queue {took.queue * 1000:.1f} ms"] if took.queue is not None else []
    tried = f" ({', '.join(one.upstream_status)})" if len(one.upstream_status) > 1 else ""
    return ", ".join(part for part in parts if part) + tried


def told(answer: Answer) -> str:
    """How it came and ended."""
    parts = [
        f"first token {answer.first:.3f} s" if answer.first is not None else "",
        f"longest gap {answer.gap:.3f} s" if answer.gap is not None else "",
        f"{answer.tokens} token{'s' * (answer.tokens != 1)}",
        f"{answer.rate:.1f} a second" if answer.rate else "",
        "cut off" if answer.cut_off else "",
        {"field": "a refusal", "words": "begins as refusals do"}.get(answer.refusal or "", ""),
        "not of the format that was asked for" if answer.invalid else "",
    ]
    return ", ".join(part for part in parts if part)


def _tell_missing(missing: list[str], found: Found) -> None:
    from llmlab.cli.output import escaped

    console = err()
    for one in missing:
        console.print(
            f"[bold red]Error:[/] no log tells of the request {escaped(repr(one))}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    since = f"back to {found.since}" if found.since else "which tell of no request"
    console.print(
        f"Searched: {_searched(found)}; {since}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _searched(found: Found) -> str:
    """The files by their folder."""
    folders: dict[str, list[str]] = {}
    for one in found.searched:
        folder, _, name = one.rpartition("/")
        folders.setdefault(folder, []).append(name)
    return "; ".join(
        ", ".join(names) + (f" in {folder}" if folder else "") for folder, names in folders.items()
    )
