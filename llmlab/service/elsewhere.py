"""A deployment whose model is elsewhere: the way to it, what is told of what answers there, and to
whom a request goes while it does not.

The gateway says by X-Fallback-To where it takes what this process hands on, and clears what a
client says there. Only what it said is told again, and only if lab.toml has named the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.datastructures import Headers

from llmlab.models.identity import elsewhere_id
from llmlab.runtimes.base import AnsweredBy
from llmlab.runtimes.chat import ChatFailure, ModelServer
from llmlab.service.metrics import Metrics
from llmlab.service.settings import Settings

OFFERED, HANDED_ON = "X-Fallback-To", "X-Accel-Redirect"
PLACE = "@fallback_"  # and the deployment's name: a named location of the gateway


def reach(settings: Settings, metrics: Metrics) -> tuple[ModelServer, str]:
    """The model's server, and the id of what it is asked.

    Raises:
        AuthError: its key cannot be read.
        EnvironmentFailure: its file of certificates cannot be read.
    """
    from llmlab.runtimes.upstream import Upstream, client_of
    from llmlab.upstreams.keys import KeyFile

    model = settings.model
    key = KeyFile(settings.key, settings.name, mounted=settings.mounted) if settings.key else None
    if key:
        key.current()
    server = Upstream(
        client_of(model, settings.ca), name=settings.name, model=model, key=key,
        patience=model.timeout or settings.service.timeout, noticed=metrics.answered_by,
    )  # fmt: skip
    asked = elsewhere_id(
        model.base_url, model.model, settings.prompt, model.decoding.as_body()
    )  # fmt: skip
    return server, asked


def note(by: AnsweredBy | None, state: dict[str, Any]) -> None:
    """Have the log of a request tell what has answered.

    Args:
        state: of the request.
    """
    if by:
        state["upstream"] = asdict(by)


def telling(by: AnsweredBy | None) -> dict[str, str]:
    """Headers of an answer that tell the same."""
    named = {
        "X-Upstream-Model": by.model if by else "",
        "X-Upstream-Fingerprint": by.fingerprint if by else "",
    }
    return {name: value for name, value in named.items() if value}


def handed_on(failure: Exception, fallback: str, headers: Headers) -> Mapping[str, str]:
    """What has the gateway ask another deployment instead; nothing where that may not answer.

    Args:
        fallback: the deployment that lab.toml names; "" for none.
        headers: of the request.
    """
    from llmlab.runtimes.upstream import another_may_answer

    place = PLACE + fallback
    if not fallback or headers.get(OFFERED) != place or not isinstance(failure, ChatFailure):
        return {}
    return {HANDED_ON: place} if another_may_answer(failure) else {}
