"""Documents of `-o json` that verbs put together themselves; the type checker holds what they print
against these. Which verb prints what is in ``llmlab.reference.documents``."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Changed(TypedDict):
    """Args:
    changed: whether anything had to be done.
    """

    changed: bool


class Address(TypedDict):
    """Args:
    url: of a deployment, where it can be asked for by name; of a lab, its gateway's.
    """

    url: str


class Undeployed(TypedDict):
    name: str
    changed: bool


class DrainedNode(TypedDict):
    """``draining``: nothing new is placed there, and nothing is there any more."""

    name: str
    host: str
    draining: bool


class AddedUpstream(TypedDict):
    """A model elsewhere. ``id``: of what it is asked, for what answers cannot be hashed."""

    name: str
    id: str
    base_url: str
    model: str


class ExportedModel(TypedDict):
    reference: str
    id: str
    file: str
    bytes: int


class Exported(TypedDict):
    """A lab as Kubernetes manifests.

    Args:
        files: that were written, relative to `folder`.
        images: that the cluster has to be able to pull.
        builds: commands that make those of them that are this lab's.
        notes: what somebody who knows this lab would not expect of it there.
        checked: how far it was checked.
    """

    folder: str
    files: list[str]
    images: list[str]
    builds: list[str]
    notes: list[str]
    checked: str


class New(TypedDict):
    """Args:
    new: whether it was not registered before.
    """

    new: bool


class Key(TypedDict):
    """A key that signs tokens, without its secret.

    Args:
        created: in UTC, ISO 8601; "" for one that was revoked.
        state: signing, valid, or revoked and when.
        demo: whether it is the published one.
    """

    kid: str
    alg: str
    created: str
    state: str
    demo: bool


class Pem(TypedDict):
    """Args:
    pem: its certificate.
    """

    pem: str


class Renewed(TypedDict):
    """Args:
    changed: whether it is another certificate than before.
    taken_over: whether a gateway runs that has it now.
    ends: in UTC, ISO 8601.
    """

    changed: bool
    taken_over: bool
    ends: str


class Token(TypedDict):
    """Args:
    expires_in: seconds.
    """

    token: str
    kid: str
    sub: str
    expires_in: int


class ApiKey(TypedDict):
    """What is kept of an API key.

    Args:
        sub: whose it is.
        scopes: routes and deployments that it may ask, *, operator or viewer; [] for the default
            ones.
        claims: what else is so of them.
        created, expires: in UTC, ISO 8601; ``expires`` null for never.
    """

    id: str
    sub: str
    scopes: list[str]
    claims: dict[str, str]
    created: str
    expires: str | None


class NewApiKey(ApiKey):
    """``key`` is told this once."""

    key: str


class Ended(TypedDict):
    """Args:
    until: tokens that were made until then are refused, in seconds since 1970; null for none.
    """

    sub: str
    until: int | None


class EndedSubject(TypedDict):
    """Args:
    until: tokens that were made until then are refused; in UTC, ISO 8601.
    """

    sub: str
    until: str


class Value(TypedDict):
    """A value of the configuration.

    Args:
        origin: configs/lab.toml, environment and the variable's name, flag, registry or default.
        running: what the running lab was brought up with; only where one runs.
    """

    path: str
    value: Any
    origin: str
    running: NotRequired[Any]


class NotebookAddress(TypedDict):
    """Args:
    url: with its token: whoever has it can run programs.
    """

    url: str


class SignIn(TypedDict):
    """Args:
    url: of the console: it signs in whoever opens it first.
    expires_in: seconds until it does no more.
    sub: who is signed in.
    role: operator or viewer.
    session: seconds until they have to sign in again.
    """

    url: str
    expires_in: int
    sub: str
    role: str
    session: int


class Routed(TypedDict):
    """Args:
    routed: whether a running gateway goes by it.
    """

    routed: bool


class RemovedFlag(TypedDict):
    """Args:
    routed: whether a running gateway goes by it.
    """

    flag: str
    routed: bool


class WholeLedger(TypedDict):
    """Args:
    whole: whether no problem was found.
    """

    whole: bool


class ExportedLedger(TypedDict):
    """Args:
    head: the hash of the last entry.
    """

    file: str
    entries: int
    head: str


class KeptRequest(TypedDict):
    """A request of a recording, and its answer.

    Args:
        at: when it came; in UTC, ISO 8601.
        seconds: until the end of its answer.
        subject: a name that is the same for the same caller of this recording, by a key that is
            gone once it has ended.
        model_id: the content id of the model that has answered.
        kind: text: a text to summarize; chat: a conversation in OpenAI's dialect.
        request: what was asked, without who asked and of whom.
        choices: what was answered: text, finish_reason, and tool_calls or refusal.
        broken: whether the answer did not come to its end.
    """

    at: str
    seconds: float
    subject: str
    deployment: str
    model_id: str
    kind: Literal["text", "chat"]
    request: dict[str, Any]
    choices: list[dict[str, Any]]
    broken: bool


class Records(TypedDict):
    """Args:
    malformed: what is sealed for it and is no record: no API of this lab has made it.
    """

    records: list[KeptRequest]
    malformed: int


class FalseAlarm(TypedDict):
    """A real rollout of a version beside itself.

    Args:
        paused: why it waits for a person; null if it does not.
    """

    rollout: int
    false_alarm: bool
    paused: str | None
    reason: str


class LoadSetup(TypedDict):
    """How the load was made.

    Args:
        model: of a chat, the route or deployment that was named, "" for none; null for summaries.
        max_tokens: of a chat, the most that an answer may have; null for summaries.
        loop: closed: so many clients, each of which waits; open: at its own pace.
        rate: requests a second, of an open loop.
        warm_up, retry: seconds.
        subjects: how many asked.
        texts: where they are from.
    """

    url: str
    path: str
    model: str | None
    max_tokens: int | None
    loop: Literal["open", "closed"]
    concurrency: int | None
    rate: float | None
    warm_up: float
    retry: float
    seed: int
    subjects: int
    texts: str
    interrupted: bool


class ProbeCheck(TypedDict):
    """Args:
    proves: what is true where it passes.
    fix: what to do where it fails.
    """

    id: str
    proves: str
    fix: str
