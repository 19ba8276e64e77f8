"""What the engine ray does of its own where the local one is asked: no lab runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmlab.config import Config, Model
from llmlab.engines.base import Plan
from llmlab.engines.local import engine as local
from llmlab.engines.local import keeper
from llmlab.engines.local.gateway import LocalGateway
from llmlab.engines.local.staging import Staging
from llmlab.engines.record import Record
from llmlab.gateway import Nginx, Releases
from llmlab.lab import Lab
from llmlab.service.settings import Settings

OWN = Model(runtime="extractive", source="embedded:textrank")


def plan_of(config: Config | None = None, *names: str) -> Plan:
    names = names or ("textrank",)
    made = (Settings(deployment=name, name="textrank", model=OWN) for name in names)
    return Plan(config or Config(), names[0], tuple(made))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.make_state()
    return made


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_renewed_certificate_is_taken_over_whichever_engine_has_the_gateway(
    lab: Lab, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.state / engine).mkdir()
    Record.of(plan_of(), engine, "1.31").write(lab)
    moved: list[str] = []
    monkeypatch.setattr(local.LocalEngine, "_serves", lambda _: True)
    monkeypatch.setattr(local, "nginx_of", lambda _: Nginx(Path("nginx"), "", ""))
    monkeypatch.setattr(Staging, "stage", lambda *_: "renewed")
    monkeypatch.setattr(Releases, "keep_only_current", lambda _: None)
    monkeypatch.setattr(LocalGateway, "move", lambda _, release: not moved.append(release))
    assert keeper._reload_certificate(lab)
    assert moved == ["renewed"]
