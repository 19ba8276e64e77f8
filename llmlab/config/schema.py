"""What configs/lab.toml may say. Strict: unknown keys and wrong types are errors."""

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


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RateLimit(Section):
    """Requests per subject at the gateway; per address without a valid token."""

    enabled: bool = True
    rate: str = "2r/s"
    burst: Annotated[int, Field(ge=0, le=10_000)] = 10

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
    """``license`` is NGINX Plus's, a file relative to the lab; ``image`` is for containers."""

    host: str = "127.0.0.1"
    port: Port = 8000
    token_leeway: Annotated[float, Field(ge=0, le=300)] = 5.0  # seconds
    max_body: str = "3m"  # the longest text of `service`, even with every character escaped
    # Above what `llmlab load` has under way at most; half of what one worker has room for.
    connections: Annotated[int, Field(ge=0, le=65_536)] = 1500
    nginx: str = ""
    edition: Literal["open", "plus"] = "open"
    license: str = ""
    image: str = ""
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
    """``replicas`` batches run at once, each on ``threads`` cores; 0 replicas fill the cores."""

    max_text_chars: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    timeout: Annotated[float, Field(gt=0, le=3600)] = 120.0
    queue: Annotated[int, Field(ge=1, le=10_000)] = 32
    replicas: Annotated[int, Field(ge=0, le=1024)] = 0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    batch_tokens: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    batch_texts: Annotated[int, Field(ge=1, le=1024)] = 16
    cache: Annotated[int, Field(ge=0, le=1_000_000)] = 512
    spare: bool = True
    memory: str = "2g"

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
    """``compute_type`` is what the runtime ctranslate2 computes in. A model whose source has
    another content than ``content_id`` is refused; "" takes it as it is."""

    runtime: Literal["ctranslate2", "transformers", "extractive"]
    source: str
    revision: str = ""
    content_id: str = ""
    compute_type: Literal["int8", "float32"] = "int8"
    license: str = ""
    max_length: Annotated[int, Field(ge=1, le=4096)] = 100
    min_length: Annotated[int, Field(ge=0, le=4096)] = 5

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
    port: Port = 8888
    image: Annotated[str, Field(pattern=r"^\S+$")] = "llmlab-jupyter"


class Rollout(Section):
    """How new versions take traffic, and the gate that they pass at each step.

    ``interval`` and ``progress_deadline`` in seconds, of each step: the least that it takes,
    and after what without a decision ``on_deadline`` happens. ``alpha``: at most this share of
    candidates that are no worse than allowed is aborted. ``error_margin``: a share of requests.
    ``holdback``: percent of the requests that stay with the stable version until a canary is
    over; ``bake``: seconds after its last step in which it is watched and still taken back.
    ``latency_gate``, ``text_gate`` and ``probe_suite`` are read when a rollout starts
    (`llmlab rollout lint`).
    """

    steps: Annotated[list[Percent], Field(min_length=1, max_length=100)] = [5.0, 25.0, 50.0, 100.0]
    interval: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    progress_deadline: Annotated[float, Field(gt=0, le=604_800)] = 1800.0
    on_deadline: Literal["pause", "abort"] = "pause"
    on_inconclusive: Literal["pause", "wait"] = "wait"
    alpha: Annotated[float, Field(ge=0.0001, le=0.5)] = 0.05
    min_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    error_margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    latency_gate: str = "p50<=1.25x p95<=1.5x"
    holdback: Annotated[float, Field(ge=1, le=50)] = 5.0
    bake: Annotated[float, Field(ge=0, le=604_800)] = 600.0
    text_gate: str = (
        "coverage>=-0.05 unsupported<=+0.10 empty<=+0.10 length<=2x repetition<=+0.10 "
        "novelty<=+0.20"
    )
    probe_suite: Annotated[str, Field(min_length=1)] = "news"
    probe_rate: Annotated[float, Field(ge=0, le=50)] = 0.0

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
    """Prometheus and Grafana, which the engine compose runs beside the lab."""

    enabled: bool = False
    prometheus_port: Port = 9090
    grafana_port: Port = 3000


FALCONSAI = Model(
    runtime="ctranslate2",
    source="hub:Falconsai/text_summarization",
    revision="6e505f907968c4a9360773ff57885cdc6dca4bfd",
    license="apache-2.0",
)
TEXTRANK = Model(runtime="extractive", source="embedded:textrank")


class Config(Section):
    """The whole of configs/lab.toml."""

    engine: Literal["auto", "local", "compose"] = "auto"
    stable: str = "falconsai"
    fallback: str = "textrank"
    deploy: list[str] = []
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
