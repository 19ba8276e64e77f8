"""What a replica is given of a model: no Ray and no machine but this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmlab.config import Model
from llmlab.config.ray import Ray
from llmlab.engines.ray.providing import Provider
from llmlab.engines.ray.replica import Look, Serving
from llmlab.engines.ray.wanted import Wanted
from llmlab.lab import Lab, private_folder
from llmlab.links import names, request
from llmlab.models.language import pull
from llmlab.models.loading import language_model
from llmlab.service.settings import Settings
from llmlab.tls import profile
from llmlab.version import __version__
from tests.gguf import gguf

INCARNATION = "0123456789ab"


class Node:
    """A replica's side: what is called is written down."""

    def __init__(self, home: Path, deployment: str) -> None:
        self._home, self._deployment = home, deployment
        self.came: dict[str, bytes] = {}
        self.given: Serving | None = None

    def __call__(self, method: str, *arguments: Any, within: float) -> Any:
        return getattr(self, method)(*arguments)

    def missing(self, digests: list[str]) -> list[str]:
        return [one for one in digests if one not in self.came]

    def put(self, digest: str, offset: int, data: bytes, last: bool) -> None:
        self.came[digest] = self.came.get(digest, b"") + data

    def request(self, incarnation: str) -> bytes:
        return request.make(self._home / "keys", self._deployment, self._deployment)

    def serve(self, given: Serving) -> None:
        self.given = given


def provided(lab: Lab, home: Path, model: Model, folder: Path | None) -> Node:
    """A node that was given this model of a lab."""
    settings = Settings(deployment="tiny", name="tiny", model=model, folder=folder)
    file = private_folder(lab.state / "deployments") / "tiny-0123456789ab.json"
    file.write_text(settings.model_dump_json())
    node = Node(private_folder(home), "tiny")
    look = Look(INCARNATION, "node", "127.0.0.1", __version__)
    Provider(lab, Ray()).provide(node, look, Wanted("tiny", "tiny", file.name))
    return node


def lab_in(folder: Path) -> Lab:
    lab = Lab(folder)
    lab.root.mkdir()
    lab.make_state()
    return lab


def test_of_a_gguf_nothing_beside_it_leaves_this_machine(tmp_path: Path) -> None:
    lab = lab_in(tmp_path / "lab")
    (lab.root / "tiny.gguf").write_bytes(gguf())
    (lab.root / "another.gguf").write_bytes(gguf("Another"))
    (private_folder(lab.state / "ray") / "token").write_text("secret")
    model = Model(runtime="llamacpp", source="path:tiny.gguf")
    folder = pull("tiny", model, lab.root, print)
    node = provided(lab, tmp_path / "node", model, folder)
    assert node.given and list(node.given.files) == ["tiny.gguf"]
    assert list(node.came.values()) == [gguf()]

    landed = tmp_path / "landed"  # and it is the same version there
    landed.mkdir()
    for name, digest in node.given.files.items():
        (landed / name).write_bytes(node.came[digest])
    assert language_model(model, landed, "")[1] == language_model(model, folder, "")[1]


def test_of_a_folder_what_makes_up_the_model_goes_to_a_node(tmp_path: Path) -> None:
    lab, folder = lab_in(tmp_path / "lab"), tmp_path / "lab" / "published"
    folder.mkdir()
    model = Model(runtime="transformers", source="path:published")
    read = ("config.json", "model.safetensors", "spiece.model", "vocab.txt")
    for name in (*read, "README.md", "id_rsa", ".env"):
        (folder / name).write_text(name)
    (private_folder(folder / ".llmlab") / "token.json").write_text("secret")
    node = provided(lab, tmp_path / "node", model, folder)
    assert node.given and list(node.given.files) == sorted(read)
    assert {one.decode() for one in node.came.values()} == {*read}


def test_the_certificate_of_a_replica_names_the_very_one(tmp_path: Path) -> None:
    lab = lab_in(tmp_path / "lab")
    model = Model(runtime="extractive", source="embedded:textrank")
    node = provided(lab, tmp_path / "node", model, None)
    assert node.given and not node.given.files
    subject = profile.parsed(node.given.certificate).subject
    assert subject == names.subject("tiny", "tiny", INCARNATION)
