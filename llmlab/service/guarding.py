"""Guards at the API: which of its texts they see, and what is told of what they find.

Every text of a request is looked at before a model is asked, and every text of an answer before
any of it leaves; whatever a guard cannot tell is refused. Told are its kind, where and how often:
never the text, nor anything of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from llmlab.guards.base import Finding, Where
from llmlab.guards.rules import Blocked, GuardFailed, Rule, applying
from llmlab.guards.window import Window
from llmlab.names import SUMMARIZE
from llmlab.service.metrics import Metrics
from llmlab.service.problems import Problem

log = logging.getLogger("llmlab.guards")
ROUTE = "X-Route"  # of a request: the public name that the client asked for; the gateway's
REDACTED = {"X-Guard": "redacted"}
BLOCKED, FAILED = "guard_blocked", "guard_failed"
# Of a request in OpenAI's dialect: what no model reads. All the rest may say something to it.
NOT_READ = ("model", "user", "metadata", "stream_options", "encoding_format", "service_tier")
# Within a message: what is no text, and pictures.
NO_TEXTS = ("role", "type", "image_url")
# Names of fields by the dialect and by JSON schemas, which are nobody's secret.
GIVEN = {
    "role", "content", "type", "text", "name", "function", "arguments", "tool_calls", "id",
    "tool_call_id", "image_url", "url", "refusal", "description", "parameters", "properties",
    "required", "items", "enum", "strict", "json_schema", "schema", "detail", "title", "default",
    "additionalProperties", "anyOf", "format",
}  # fmt: skip


@dataclass(frozen=True)
class Guarding:
    """
    Args:
        names: those by which this deployment is asked for itself, rather than by a route.
    """

    rules: tuple[Rule, ...]
    metrics: Metrics
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for rule in self.rules:
            self.metrics.guard_failures.labels(rule.name)
            for where in rule.where:
                for label in rule.guard.labels:
                    self.metrics.guard_findings.labels(rule.name, label, where, rule.action)

    def of_summarize(self, where: Where, connection: Request) -> tuple[Rule, ...]:
        return applying(self.rules, where, connection.headers.get(ROUTE) or SUMMARIZE)

    def of_dialect(self, where: Where, connection: Request) -> tuple[Rule, ...]:
        """Under /v1, where a request without a route has named a deployment."""
        route = connection.headers.get(ROUTE, "")
        return applying(self.rules, where, "" if route in self.names else route)

    def window(
        self,
        rules: Sequence[Rule],
        where: Where,
        state: dict[str, Any],
        *,
        asked: str = "",
        strict: bool = False,
    ) -> Window:
        """
        Args:
            state: of the request; it hears of what was redacted.
            asked, strict: see ``Window``.
        """
        request_id = str(state.get("request_id", ""))

        def found(rule: Rule, findings: Sequence[Finding]) -> None:
            self._tell(rule, findings, where, request_id)
            if rule.action == "redact":
                state["redacted"] = True

        return Window(rules, where, found, asked=asked, strict=strict)

    async def text(
        self,
        text: str,
        rules: Sequence[Rule],
        where: Where,
        state: dict[str, Any],
        *,
        asked: str = "",
        strict: bool = False,
    ) -> str:
        """A whole text, as it may go on.

        Raises:
            Blocked, GuardFailed: it may not.
        """
        window = self.window(rules, where, state, asked=asked, strict=strict)
        return await window.feed(text, ended=True)

    async def document(
        self, document: Mapping[str, Any], rules: Sequence[Rule], state: dict[str, Any]
    ) -> dict[str, Any]:
        """A request in OpenAI's dialect, with all of its texts as they may go on.

        Raises:
            Refusal: one may not; it names its field.
            Unreadable: it is none that could be looked at.
            GuardFailed: a guard could not tell.
        """

        async def look(text: str, strict: bool) -> str:
            return await self.text(text, rules, "request", state, strict=strict)

        looking = _Looking(look)
        return {
            name: value if name in NOT_READ else await looking.at(value, name)
            for name, value in document.items()
        }

    def failed(self, failure: GuardFailed, state: Mapping[str, Any]) -> None:
        """Take note of a guard that could not tell."""
        self.metrics.guard_failures.labels(failure.rule.name).inc()
        log.error("request %s: %s", state.get("request_id", ""), failure)

    def _tell(self, rule: Rule, findings: Sequence[Finding], where: Where, request_id: str) -> None:
        counts: dict[str, list[int]] = {}
        for one in findings:
            counts.setdefault(one.label, []).append(one.end - one.start)
            self.metrics.guard_findings.labels(rule.name, one.label, where, rule.action).inc()
        for label, lengths in counts.items():
            log.warning({
                "guard": rule.name, "found": label, "count": len(lengths), "lengths": lengths[:20],
                "where": where, "action": rule.action, "request_id": request_id,
            })  # fmt: skip


def telling_of_guards(state: Mapping[str, Any]) -> Mapping[str, str]:
    """Headers of an answer to a request of which something was redacted, or that was itself."""
    return REDACTED if state.get("redacted") else {}


def said_of(blocked: Blocked, what: str) -> str:
    """For the client: which guard, and what it is about, but not where."""
    kinds = ", ".join(blocked.labels)
    return f"The guard {blocked.rule.name!r} of this lab refuses this {what}: it holds {kinds}."


def said_of_failure(failure: GuardFailed) -> str:
    return f"The guard {failure.rule.name!r} of this lab could not look at the text."


def as_problem(error: Blocked | GuardFailed, what: str) -> Problem:
    """What a client of /summarize/ is told."""
    if isinstance(error, Blocked):
        return Problem(403, said_of(error, what))
    return Problem(500, said_of_failure(error))


class Refusal(Exception):
    """A text of a request is blocked.

    Args:
        param: the field that holds it, as OpenAI spells it.
    """

    def __init__(self, blocked: Blocked, param: str) -> None:
        super().__init__(str(blocked))
        self.blocked, self.param = blocked, param


class Unreadable(Exception):
    """A request says its text as numbers of tokens, which no guard can read."""

    def __init__(self, param: str) -> None:
        super().__init__(param)
        self.param = param


@dataclass(frozen=True, slots=True)
class _Looking:
    """Looks at every text within a JSON document, and at names that the dialect does not give.

    Args:
        look: gives a text as it may go on, or raises; strictly, nothing in it may be replaced.
    """

    look: Callable[[str, bool], Awaitable[str]]

    async def at(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return await self._text(value, path)
        if isinstance(value, list):
            if path in ("prompt", "input") and any(map(_is_of_tokens, value)):
                raise Unreadable(path)
            return [await self.at(one, f"{path}[{number}]") for number, one in enumerate(value)]
        if isinstance(value, dict):
            return {name: await self._field(name, one, path) for name, one in value.items()}
        return value

    async def _field(self, name: str, value: Any, path: str) -> Any:
        where = f"{path}.{name}"
        if name not in GIVEN:
            await self._text(name, path, strict=True)
        if name in NO_TEXTS and path.startswith("messages"):
            return value
        if name == "arguments" and isinstance(value, str):
            return await self._arguments(value, where)
        return await self.at(value, where)

    async def _arguments(self, text: str, path: str) -> str:
        """A program has read them: they stay the JSON that they were."""
        told = await self._text(text, path)
        if told != text and _is_json(text) and not _is_json(told):
            await self._text(text, path, strict=True)
        return told

    async def _text(self, text: str, path: str, *, strict: bool = False) -> str:
        try:
            return await self.look(text, strict)
        except Blocked as blocked:
            raise Refusal(blocked, path) from None


def _is_of_tokens(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, list) and any(map(_is_of_tokens, value)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
