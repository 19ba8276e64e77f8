"""Trying a model elsewhere: whether its server can be reached, takes the key and knows the model.

It is asked for its list of models, which costs nothing.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx2

from llmlab.config import Model
from llmlab.errors import LlmlabError
from llmlab.lab import Lab
from llmlab.near import hint
from llmlab.upstreams import keys
from llmlab.upstreams.keys import OURS
from llmlab.upstreams.tls import trusted

DEADLINE = 5.0  # seconds
LARGEST = 8 << 20  # bytes of a list of models


class Outcome(StrEnum):
    WELL = "well"
    UNCERTAIN = "uncertain"  # it answers, and does not say whether it has the model
    WRONG = "wrong"


@dataclass(frozen=True)
class Tried:
    outcome: Outcome
    message: str
    fix: str = ""


class _TooLate(Exception):
    pass


def try_upstream(
    name: str, model: Model, lab: Lab, environ: Mapping[str, str], *, deadline: float = DEADLINE
) -> Tried:
    """
    Args:
        environ: with the key, where that is not kept yet because the lab is down.
        deadline: seconds for all of it.
    """
    try:
        key = _key(name, model, lab, environ)
        context = trusted((lab.root / model.ca_file) if model.ca_file else None)
        status, body, where = _asked(model, key, context, deadline)
    except LlmlabError as error:
        return Tried(Outcome.WRONG, error.message, error.fix or "")
    except (_TooLate, httpx2.TimeoutException):
        return Tried(Outcome.WRONG, f"{model.base_url} does not answer within {deadline:g} s",
                     "correct base_url, or ask its provider")  # fmt: skip
    except httpx2.ConnectError as error:
        return _unreachable(name, model, error)
    except httpx2.HTTPError as error:
        return Tried(Outcome.WRONG, f"{model.base_url}: {error or type(error).__name__}",
                     f"correct models.{name}.base_url")  # fmt: skip
    return _judged(name, model, status, body, where)


def _key(name: str, model: Model, lab: Lab, environ: Mapping[str, str]) -> str:
    if model.key_env and (value := environ.get(model.key_env, "").strip()):
        return keys.value_of(value.encode(), Path(model.key_env), name)
    file = keys.place(model, lab)
    return keys.read(file, name) if file else ""


def _asked(
    model: Model, key: str, context: ssl.SSLContext, deadline: float
) -> tuple[int, bytes, str]:
    """Status, body, and where a redirect would lead."""
    end = time.monotonic() + deadline
    headers = {**model.headers, **({"Authorization": f"Bearer {key}"} if key else {})}
    with (
        httpx2.Client(verify=context, trust_env=False, timeout=deadline) as client,
        client.stream("GET", f"{model.base_url.rstrip('/')}/models", headers=headers) as answer,
    ):
        body = b""
        for part in answer.iter_bytes():
            body += part
            if time.monotonic() > end:
                raise _TooLate
            if len(body) > LARGEST:
                break
        return answer.status_code, body, answer.headers.get("location", "")


def _unreachable(name: str, model: Model, error: httpx2.ConnectError) -> Tried:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            return Tried(
                Outcome.WRONG, f"the TLS of {model.base_url} cannot be trusted: {why}",
                f'models.{name}.ca_file = "the certificate of who signs it, as PEM", or correct '
                "base_url",
            )  # fmt: skip
        cause = cause.__cause__ or cause.__context__
    return Tried(Outcome.WRONG, f"{model.base_url} cannot be reached: {error}",
                 f"start it, or correct models.{name}.base_url")  # fmt: skip


def _judged(name: str, model: Model, status: int, body: bytes, where: str) -> Tried:
    if status in OURS:
        there = f"the key of models.{name}" if model.key_file or model.key_env else "a key"
        fix = f"put a key that is valid into {model.key_file or model.key_env or 'key_file'}"
        return Tried(Outcome.WRONG, f"{model.base_url} refuses {there} ({status})"
                     if model.key_file or model.key_env
                     else f"{model.base_url} wants {there} ({status})", fix)  # fmt: skip
    if 300 <= status < 400:
        return Tried(Outcome.WRONG, f"{model.base_url} redirects to {where}, which is not followed",
                     f"correct models.{name}.base_url")  # fmt: skip
    if status == 404:
        return Tried(Outcome.UNCERTAIN, f"{model.base_url} answers, and lists no models (404)",
                     "if requests fail as well: base_url should end with /v1")  # fmt: skip
    if status != 200:
        return Tried(Outcome.WRONG, f"{model.base_url} answers {status}", "ask its provider")
    listed = _listed(body)
    if listed is None:
        return Tried(Outcome.WRONG, f"what answers at {model.base_url} is no such server",
                     f"correct models.{name}.base_url; it should end with /v1")  # fmt: skip
    if model.model not in listed:
        return Tried(
            Outcome.UNCERTAIN,
            f"{model.base_url} answers, and does not list {model.model!r}"
            + hint(model.model, listed),
            f"correct models.{name}.model, if it does not answer",
        )
    return Tried(Outcome.WELL, f"{model.model} at {model.base_url}")


def _listed(body: bytes) -> list[str] | None:
    """The names of a list of models; None if it is none."""
    try:
        return [str(one["id"]) for one in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return None
