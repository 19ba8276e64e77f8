"""From what a person asks for to a gateway that is tried, and by which checks."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmlab import scopes
from llmlab.auth import KeyStore
from llmlab.auth.tokens import RESERVED_CLAIMS
from llmlab.client import credentials
from llmlab.client.connection import NOBODY, Trust, checked_url, trust_in
from llmlab.client.credentials import LabTokens, TokenSource, trust_at
from llmlab.config import Config, read_config
from llmlab.engines.record import Record
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.lab import Lab, find_lab
from llmlab.network import is_loopback
from llmlab.proving.findings import Check
from llmlab.proving.target import Facts, Pace, Target
from llmlab.proving.tokens import Commanded, Signed, Signer, Tokens, key_of_file
from llmlab.proving.wire import Wire

HERE, ELSEWHERE = 200.0, 5.0  # requests a second
MARGIN = 3  # times the requests that are expected, for those that have to be repeated
OWN, APART, ANOTHER = "own", "apart", "another"
# What tokens of a lab's own key say: without it they may ask what auth.default_scopes says, which
# may be nothing.
EVERYTHING = {"scope": scopes.claim([scopes.EVERYTHING])}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What a person asks for; None and "" for what is left to the probe.

    Args:
        rate: requests a second.
        requests: in all.
        claims: NAME=VALUE, of tokens that are signed with ``key_file``.
        allowed: the host is one that may be tested.
        patience: seconds.
    """

    url: str | None = None
    token_command: str = ""
    key_file: Path | None = None
    claims: Sequence[str] = ()
    model: str = ""
    ca_file: Path | None = None
    apart: bool = False
    allowed: bool = False
    rate: float | None = None
    requests: int | None = None
    patience: float = 15.0
    environ: Mapping[str, str] = field(default_factory=dict)

    def pace(self, url: str, checks: Sequence[Check]) -> tuple[float, int]:
        """Requests a second, and how many at most."""
        expected = sum(one.requests for one in checks)
        rate = self.rate or (HERE if is_loopback(url) else ELSEWHERE)
        return rate, self.requests or MARGIN * expected + 50


@dataclass(frozen=True)
class Found:
    """A gateway that can be tried, and how much is known of it."""

    target: Target
    known: str


class OfSource:
    """Good tokens as the lab's clients come by them: of one subject."""

    several = False

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.signer: Signer | None = None

    async def good(self, subject: str) -> str:
        del subject
        return self._source()


def find(
    wishes: Wishes, folder: Path | None, checks: Sequence[Check], say: Say
) -> AbstractContextManager[Found]:
    """The gateway at the URL, else the running lab, else a copy of the lab.

    Args:
        folder: what --lab said.

    Raises:
        UsageError: the host may not be tested, or there is no lab.
        LlmlabError: the copy cannot be brought up.
    """
    url = wishes.url or wishes.environ.get("LLMLAB_URL")
    if url:
        _refuse_both(wishes)
        return nullcontext(_another(wishes, checked_url(url), folder, checks))
    lab = find_lab(folder, wishes.environ)
    record = None if wishes.apart else _running(lab)
    if record is None:
        return _Apart(wishes, lab, checks, say)
    return nullcontext(_own(wishes, lab, record, checks))


def _running(lab: Lab) -> Record | None:
    """What runs of a lab; a record alone may be of one that is down."""
    from llmlab.engines.choice import running_engine

    record = Record.read(lab)
    return record if record and running_engine(lab) else None


def _refuse_both(wishes: Wishes) -> None:
    if wishes.apart:
        raise UsageError("--apart is a copy of the lab, and has no other URL", fix="leave one out")


def _own(wishes: Wishes, lab: Lab, record: Record, checks: Sequence[Check]) -> Found:
    config = record.plan().config
    keys = KeyStore(lab.keys_file).read()
    tokens = _tokens(wishes) or Signed(Signer(keys.signing, EVERYTHING))
    facts = _facts(config, published=keys.has_demo)
    trust = trust_in(lab, wishes.environ)
    return Found(_target(wishes, checked_url(record.url), tokens, facts, checks, trust), OWN)


class _Apart(AbstractContextManager[Found]):
    """A copy, for a block."""

    def __init__(self, wishes: Wishes, lab: Lab, checks: Sequence[Check], say: Say) -> None:
        self._wishes, self._lab, self._checks, self._say = wishes, lab, checks, say
        self._stack = ExitStack()

    def __enter__(self) -> Found:
        from llmlab.proving.apart import apart

        config = read_config(self._lab.config_file, environ=self._wishes.environ).config
        self._say(f"bringing up a copy of the lab in {self._lab.root}, with a model that tells "
                  "what it hears")  # fmt: skip
        copy = self._stack.enter_context(apart(self._lab, config, self._say))
        tokens = Signed(Signer(KeyStore(copy.lab.keys_file).read().signing, EVERYTHING))
        trust = trust_in(copy.lab, {})  # what the environment says is of another gateway
        facts = _facts(copy.config)
        target = _target(self._wishes, copy.url, tokens, facts, self._checks, trust)
        target.revoke, target.api_key = copy.revoke, copy.api_key
        return Found(target, APART)

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _another(wishes: Wishes, url: str, folder: Path | None, checks: Sequence[Check]) -> Found:
    if not is_loopback(url) and not wishes.allowed:
        raise UsageError(
            f"{urlsplit(url).hostname} is not this machine, and a probe sends what may look like "
            "an attack",
            fix="ask whoever runs it; if you may: --i-may-test-this-host",
        )
    tokens = _tokens(wishes)
    if tokens is None:
        source = credentials.resolve(url, None, folder, wishes.environ).token
        keys = find_lab(folder, wishes.environ).keys_file if isinstance(source, LabTokens) else None
        signing = KeyStore(keys).read().signing if keys else None
        tokens = Signed(Signer(signing, EVERYTHING)) if signing else OfSource(source)
    trust = trust_at(url, folder, wishes.environ)
    return Found(_target(wishes, url, tokens, Facts(), checks, trust), ANOTHER)


def _tokens(wishes: Wishes) -> Tokens | None:
    """What a person named; None if nothing."""
    if wishes.token_command and wishes.key_file:
        raise UsageError("--token-command and --key-file exclude each other", fix="leave one out")
    if wishes.claims and not wishes.key_file:
        raise UsageError("--claim is for tokens that --key-file signs", fix="name a key, too")
    if wishes.token_command:
        return Commanded(wishes.token_command)
    if wishes.key_file:
        return Signed(Signer(key_of_file(wishes.key_file), _claims(wishes.claims)))
    return None


def _claims(said: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in said:
        name, equals, value = one.partition("=")
        if not equals or not name or name in RESERVED_CLAIMS - {"iss", "aud", "name"}:
            raise UsageError(f"--claim {one!r} is no NAME=VALUE of a claim", fix="--claim iss=...")
        found[name] = value
    return found


def _facts(config: Config, *, published: bool = False) -> Facts:
    gateway = config.gateway
    return Facts(
        gateway.rate_limit.enabled, gateway.max_body_bytes, published, scoped=True,
        issuers=tuple(one.issuer for one in config.auth.issuers), budgets=bool(config.budgets),
        waf=gateway.waf.blocks,
    )  # fmt: skip


def _target(
    wishes: Wishes, url: str, tokens: Tokens, facts: Facts, checks: Sequence[Check], trust: Trust
) -> Target:
    parts = urlsplit(url)
    assert parts.hostname is not None
    if parts.path:
        raise UsageError(
            f"{url} has a path, and a probe asks for many addresses", fix="give scheme and host"
        )
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    wire = Wire(parts.hostname, port, trusting(wishes.ca_file, trust) if secure else None)
    rate, most = wishes.pace(url, checks)
    return Target(
        url, wire, tokens, Pace(rate, most), facts, model=wishes.model, patience=wishes.patience
    )


def trusting(file: Path | None, trust: Trust = NOBODY) -> ssl.SSLContext:
    """A context that verifies by whom the gateway's own clients trust, and by those in a file."""
    made = trust.context() if trust else ssl.create_default_context()
    if file:
        try:
            made.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            why = getattr(error, "strerror", None) or "no certificates"
            raise EnvironmentFailure(
                f"--ca-file {file}: {why}", fix="name a file of certificates (PEM)"
            ) from None
    return made
