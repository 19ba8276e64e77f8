"""What a replica takes of a node: who says it, and how it is held to it. No Ray runs here."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmlab.config import Config, Model
from llmlab.config.ray import Ray
from llmlab.engines.base import Plan
from llmlab.engines.ray import cluster
from llmlab.engines.ray import replica as replicas
from llmlab.engines.ray.providing import Provider
from llmlab.engines.ray.replica import Look, Replica, Serving
from llmlab.engines.ray.wanted import wanted_by, write_what_they_read
from llmlab.engines.taken import Taken, taken_by
from llmlab.lab import Lab
from llmlab.registry.record import Facts
from llmlab.runtimes.cores import default_replicas, held_to, memory_limit, usable_cores
from llmlab.service.settings import Settings
from llmlab.version import __version__

OWN = {"runtime": "extractive", "source": "embedded:textrank"}
CONFIG = Config.model_validate({
    "routes": {"summarize": "first", "chat": ""},
    "models": {"first": OWN, "big": {**OWN, "cores": 8, "gpus": 1, "memory": "512m"}},
})  # fmt: skip


def defined(name: str) -> Settings:
    return Settings(deployment="canary", name=name, model=CONFIG.models[name])


def registered(name: str) -> Settings:
    model = Facts("tuned").model("path:models/aa", "sha256:" + "a" * 64)
    return Settings(deployment="canary", name=name, model=model)


def plan(*others: Settings, config: Config = CONFIG) -> Plan:
    first = Settings(deployment="first", name="first", model=config.models["first"])
    return Plan(config, "first", (first, *others))


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        (defined("first"), Taken("2g", 1, 0)),
        (defined("big"), Taken("512m", 8, 1)),
        (registered("big-2"), Taken("512m", 8, 1)),  # the registry says nothing of it
        (registered("other-2"), Taken("2g", 1, 0)),
        (Settings(deployment="canary", name="big-2", model=Model(**OWN, cores=0.5)),
         Taken("512m", 0.5, 1)),
    ],
)  # fmt: skip
def test_a_version_takes_what_the_model_does_that_it_is_a_version_of(
    settings: Settings, taken: Taken, tmp_path: Path
) -> None:
    made = plan(settings)
    assert taken_by(made, "canary") == taken
    (wanted,) = [one for one in wanted_by(Lab(tmp_path), made) if one.process == "canary"]
    assert (wanted.cores, wanted.gpus, wanted.memory) == (taken.cores, taken.gpus, taken.bytes)
    assert taken.bytes == {"512m": 512 << 20, "2g": 2 << 30}[taken.memory]


def test_a_replica_is_another_one_at_other_numbers_whoever_says_them(tmp_path: Path) -> None:
    lab = Lab(tmp_path)

    def wanted(**said: Any) -> str:
        big = CONFIG.models["big"].model_copy(update=said)
        config = CONFIG.model_copy(update={"models": {**CONFIG.models, "big": big}})
        made = plan(registered("big-2"), config=config)
        lab.make_state()
        write_what_they_read(lab, made)
        name = wanted_by(lab, made)[1].settings
        read = Settings.read(lab.state / "deployments" / name)
        assert read.model.cores == big.cores
        return name

    assert wanted() == wanted()
    assert wanted() != wanted(cores=2.0)


@pytest.mark.parametrize(
    ("cores", "memory", "usable", "limit"),
    [
        (2.0, 2 << 30, 2, 2 << 30), (1.5, 1, 1, 1), (0.5, 0, 1, math.inf),
        (64.0, 8 << 30, 16, 8 << 30),  # there are no more
    ],
)  # fmt: skip
def test_a_process_that_is_given_a_part_of_a_node_takes_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    cores: float, memory: int, usable: int, limit: float,
) -> None:  # fmt: skip
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    nothing = tmp_path / "cgroups", tmp_path / "membership"
    assert (usable_cores(*nothing), memory_limit(*nothing)) == (16, math.inf)
    told = held_to(cores, memory)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert (usable_cores(*nothing), memory_limit(*nothing)) == (usable, limit)
    assert default_replicas(1) <= usable
    assert int(told["OMP_NUM_THREADS"]) == max(1, int(cores))


def test_a_replica_hands_its_api_what_it_is_given_of_the_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[dict[str, str]] = []

    def kept(folder: Path, command: list[str], env: dict[str, str], **_: Any) -> Any:
        started.append(env)
        return SimpleNamespace(start=lambda: None)

    monkeypatch.setattr(replicas, "Kept", kept)
    one = Replica.__new__(Replica)
    one._folder = one._own = tmp_path
    one._told = Look("a", "node", "10.0.0.2", "1")
    one._door = SimpleNamespace(open=lambda *_: None)  # type: ignore[assignment]
    settings = plan().settings("first").model_dump_json()
    one._begin(Serving(settings, {}, "", "", (20000, 20001), ("127.0.0.1", 1), 1.0, 4.0, 3 << 30))
    assert held_to(4.0, 3 << 30).items() <= started[0].items()


def test_what_is_wanted_of_a_node_is_what_the_replica_is_given(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.make_state()
    made = plan(Settings(deployment="canary", name="big-2", model=CONFIG.models["first"]))
    write_what_they_read(lab, made)
    given: list[Serving] = []

    def call(method: str, *arguments: Any, within: float) -> Any:
        given.extend(arguments if method == "serve" else ())
        return b""

    provider = Provider(lab, Ray())
    provider._authority = SimpleNamespace(  # type: ignore[assignment]
        sign=lambda *_: b"", trusted_by_replicas=""
    )
    provider.provide(call, Look("a", "node", "10.0.0.2", __version__), wanted_by(lab, made)[1])
    assert (given[0].cores, given[0].memory) == (8.0, 512 << 20)


def test_a_head_that_others_join_offers_nothing_of_its_machine(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.make_state()
    several, alone = Ray(host="10.0.0.1"), Ray()
    assert {"--num-cpus=0", "--num-gpus=0"} <= {*cluster.head_command(lab, several)}
    assert not [one for one in cluster.head_command(lab, alone) if "gpus" in one]
