"""What the registry knows of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict, cast

from pydantic import ConfigDict, TypeAdapter

from llmlab.config import Model
from llmlab.config.model import CHAT, Decoding
from llmlab.models.identity import id_of, version_id

Source = Literal["hub", "wheel", "path", "tuned", "import"]
# Those whose files can be had again from where they were published, and are not in the registry.
PUBLISHED = ("hub", "wheel")


@dataclass(frozen=True)
class Base:
    """Where a model, or the one it was tuned from, was published. ``id`` is its content id.

    Of one out of a Python package, ``repository`` is NAME==VERSION, and ``revision`` empty.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    repository: str
    revision: str
    id: str


@dataclass(frozen=True)
class Data:
    """Texts that a model was made with. ``role``: train, validation, test; ``count`` of texts."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    role: str
    sha256: str
    count: int
    name: str = ""


@dataclass(frozen=True)
class Overlap:
    """Whether the training data shares texts with the suites that judge the model.

    ``against`` maps a suite's name to its hash; ``forced``: registered in spite of ``shared``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    against: Mapping[str, str]
    shared: int
    forced: bool = False


@dataclass(frozen=True)
class Facts:
    """What is said of a model when it is registered.

    Args:
        runtime, compute_type, max_length, min_length, context, slots: how it is served, as in
            lab.toml.
        file: of a language model from elsewhere: which of the files there.
        prompt: of a language model: the template itself, which is a part of the version.
        decoding: likewise, what it decodes by where a request does not say.
        base: the published model that it is, or was tuned from.
        parent: content id of the model that it was tuned from.
        parameters: of the training.
        libraries: {package: version}.
        duration: of the training, in seconds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    source: Source
    runtime: Literal["ctranslate2", "transformers", "llamacpp"] = "ctranslate2"
    compute_type: Literal["int8", "float32"] = "int8"
    max_length: int = 100
    min_length: int = 5
    license: str = ""
    note: str = ""
    base: Base | None = None
    parent: str = ""
    data: tuple[Data, ...] = ()
    overlap: Overlap | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    duration: float | None = None
    file: str = ""
    prompt: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    context: int = 0
    slots: int = 0

    @property
    def chats(self) -> bool:
        return self.runtime in CHAT

    def id_of(self, files: Mapping[str, str]) -> str:
        """The id of the version of a model that has these ``digests``, sorted by name."""
        return version_id(files, self.prompt, self.decoding) if self.chats else id_of(files)

    @classmethod
    def parse(cls, document: str) -> Facts:
        """Raises ValueError: it is no such document."""
        return _FACTS.validate_json(document, strict=True)

    def dump(self) -> str:
        """One JSON text for equal facts."""
        return canonical(asdict(self))

    def model(self, source: str, content_id: str) -> Model:
        """As lab.toml would define it. Raises ValueError: it cannot be served like that."""
        revision = self.base.revision if self.base and source.startswith("hub:") else ""
        said: dict[str, Any] = {}
        if self.runtime == "ctranslate2":
            said = {"compute_type": self.compute_type}
        elif self.chats:
            said = {"prompt": self.prompt, "decoding": Decoding(**self.decoding),
                    "context": self.context, "slots": self.slots}  # fmt: skip
            said |= {} if source.startswith("path:") else {"file": self.file}
        return Model(
            runtime=self.runtime, source=source, revision=revision, content_id=content_id,
            license=self.license, max_length=self.max_length, min_length=self.min_length, **said,
        )  # fmt: skip


_FACTS = TypeAdapter(Facts)


class RecordDocument(TypedDict):
    """A registered model.

    Args:
        reference: NAME:VERSION.
        id: its content id; of a language model, that of the version: of its weights, prompt and
            decoding together.
        weights: content id of its files alone.
        created: in UTC, ISO 8601.
        source: hub, wheel, path, tuned or import.
        base: the published model that it is, or was tuned from.
        parent: content id of the model that it was tuned from.
        parameters: of the training.
        libraries: {package: version}.
        duration: of the training, in seconds.
        bytes: size of its files in the registry.
        files: {name: sha256} of its files; none for a model of a hub that is no language model.
        file: of a language model from there: which of the files.
        prompt: of a language model: the template.
        decoding: likewise, what it decodes by where a request does not say.
        evaluations: what it was judged by, the oldest first.
        removed: when it was removed, in UTC; "" if it was not.
    """

    reference: str
    id: str
    weights: str
    name: str
    version: int
    created: str
    source: Source
    runtime: str
    compute_type: str
    max_length: int
    min_length: int
    license: str
    note: str
    base: Base | None
    parent: str
    data: tuple[Data, ...]
    overlap: Overlap | None
    parameters: dict[str, Any]
    seed: int | None
    libraries: dict[str, str]
    duration: float | None
    file: str
    prompt: str
    decoding: dict[str, Any]
    context: int
    slots: int
    bytes: int
    files: dict[str, str]
    evaluations: list[dict[str, Any]]
    removed: str


@dataclass(frozen=True)
class Record:
    """A registered model. Nothing of it changes, but that evaluations are added.

    Args:
        id: its content id; of a language model, that of weights, prompt and decoding together.
        version: counts the models of that name, from 1; never used twice.
        created: when it was registered first, in UTC, ISO 8601.
        files: {name: sha256} of its files in the registry; of a language model wherever they
            are. None for another one of a hub, whose files stay in the hub library's cache.
        bytes: size of those files.
        removed: when it was removed, else "".
    """

    id: str
    name: str
    version: int
    created: str
    facts: Facts
    files: Mapping[str, str]
    bytes: int
    evaluations: tuple[Mapping[str, Any], ...] = ()
    removed: str = ""

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def weights(self) -> str:
        """The content id of its files alone. Versions that differ in the prompt share them."""
        return id_of(self.files) if self.facts.chats else self.id

    @property
    def digits(self) -> str:
        """The name of the folder of its files."""
        return self.weights.removeprefix("sha256:")

    @property
    def owned(self) -> bool:
        """Whether the registry has its files, rather than a hub's cache or the store."""
        return self.facts.source not in PUBLISHED

    def model(self, models: Path) -> Model:
        """The model as lab.toml would define it.

        Args:
            models: the registry's folder of models, relative to the lab.
        """
        base = self.facts.base
        if self.owned or base is None:
            return self.facts.model(f"path:{models / self.digits}", self.weights)
        return self.facts.model(f"{self.facts.source}:{base.repository}", self.weights)

    def serves(self, model: Model, prompt: str) -> bool:
        """Whether a model of lab.toml, or of a running lab, is this one.

        Args:
            prompt: the template of that model; "" for one that holds no conversation.
        """
        facts, base = self.facts, self.facts.base
        if facts.chats != model.chats:
            return False
        if facts.chats and (facts.prompt, facts.decoding) != (prompt, model.decoding.as_body()):
            return False
        if model.content_id:
            return model.content_id == self.weights
        return (
            not self.owned
            and base is not None
            and model.source == f"{facts.source}:{base.repository}"
            and model.revision == base.revision
            and (not facts.chats or fnmatchcase(facts.file, model.file or "*"))
        )

    def as_json(self) -> RecordDocument:
        document = {
            "reference": self.reference, "id": self.id, "weights": self.weights,
            "name": self.name, "version": self.version, "created": self.created,
            **asdict(self.facts), "bytes": self.bytes, "files": dict(self.files),
            "evaluations": [dict(one) for one in self.evaluations], "removed": self.removed,
        }  # fmt: skip
        return cast(RecordDocument, document)


@dataclass(frozen=True)
class Target:
    """What an alias points to."""

    name: str
    version: int
    id: str

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.version}"


class OfRegistry(TypedDict):
    """Args:
    record: null if the model is not registered.
    """

    record: RecordDocument | None


class Pointed(TypedDict):
    """What an alias points to."""

    name: str
    version: int
    id: str


MoveDocument = TypedDict(
    "MoveDocument",
    {"alias": str, "from": Pointed | None, "to": Pointed | None, "at": str, "who": str, "why": str},
)
MoveDocument.__doc__ = """An alias that was made, moved, or taken away.

Args:
    from: what it pointed to; null for one that was made.
    to: what it points to; null for one that was taken away.
    at: in UTC, ISO 8601.
"""


@dataclass(frozen=True)
class Move:
    """An alias that was made, moved, or taken away (``to`` is None). ``at`` in UTC, ISO 8601."""

    alias: str
    was: Target | None
    to: Target | None
    at: str
    who: str
    why: str

    def as_json(self) -> MoveDocument:
        document = asdict(self)
        return {"alias": self.alias, "from": document["was"], "to": document["to"],
                "at": self.at, "who": self.who, "why": self.why}  # fmt: skip


def canonical(document: Any) -> str:
    """The one way in which the registry writes a JSON document.

    Raises:
        ValueError: it holds a NaN or an infinity, which JSON has not.
    """
    return json.dumps(
        document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
