"""A lab of an earlier llmlab goes on under this one: what it was, who changed it, and its traffic.

``tests/earlier/DAY`` holds what a lab has left that the code of that day made, used and brought
down; ``tests/earlier/make.py`` says how. In each, ``next`` was promoted to stable, a canary of
``third`` is paused at 40 %, two flags are set, a model is registered and a key was rotated.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.auth import Claims, KeyStore, mint
from llmlab.config import Config, Model
from llmlab.config.budgets import Budget
from llmlab.config.gateway import RateLimit
from llmlab.engines.base import Plan
from llmlab.engines.ray.engine import ray_engine
from llmlab.errors import ConfigError
from llmlab.gateway import GatewayPlan, TlsFront, find_nginx, fitting
from llmlab.issuers.trust import Trust, Trusted
from llmlab.lab import Lab
from llmlab.links.away import TURNED_AWAY
from llmlab.service.settings import Settings
from tests.conftest import LabUnderTest, configure
from tests.issuing import issuer

EARLIER = sorted(Path(__file__).parent.glob("earlier/20*"))
# Keys of lab.toml that are gone: `up` says so, and what says the same now.
GONE = re.compile(r"(?m)^latency_(ratio|margin) = .*\n")


def taken_over(earlier: Path, lab: LabUnderTest) -> LabUnderTest:
    """Put what was left in a lab's place, with its own configuration; it is not up yet."""
    for name in ("configs/lab.toml", "nginx.conf", "docker-compose.yml"):
        shutil.copyfile(earlier / name, lab.root / name)
    configure(lab.root, lab.port, stable='"textrank"')
    state, kept = lab.lab.state, earlier / "state"
    lab.lab.make_state()
    shutil.copytree(kept / "models", state / "registry" / "models")
    for name, file in (("delivery", "delivery.db"), ("registry", "registry/registry.db")):
        with closing(sqlite3.connect(state / file)) as database:
            database.executescript((kept / f"{name}.sql").read_text())
        (state / file).chmod(0o600)
    (state / "registry").chmod(0o700)
    lab.lab.keys_file.parent.mkdir(mode=0o700)
    shutil.copyfile(kept / "jwks.json", lab.lab.keys_file)
    lab.lab.keys_file.chmod(0o600)
    if (kept / "running.json").exists():
        shutil.copyfile(kept / "running.json", state / "running.json")
    return lab


NEEDED: dict[str, dict[str, Any]] = {
    "$lab_sub": {"trust": Trust((), (Trusted(issuer()),))},
    "$lab_credential": {"api_keys": {"00" * 32: "token"}},
    TURNED_AWAY: {"linked": True},
    "lab/budgets.conf": {"budgets": (Budget(requests_per_day=1),)},
}


@pytest.mark.parametrize("word", [*NEEDED, "$lab_credential of certificates"])
def test_what_an_earlier_nginx_conf_would_let_through_or_refuse_is_told(word: str) -> None:
    word, _, certificates = word.partition(" of ")
    tokens = {"CN=orders": "token"}
    front = {"tls": TlsFront("certificate", "key", 443, client_tokens=tokens)}
    plain = GatewayPlan("127.0.0.1:1", "a", (), RateLimit(), "1m", 1.0)
    needs = replace(plain, **(front if certificates else NEEDED[word]))
    for earlier in EARLIER:
        conf = (earlier / "nginx.conf").read_text()
        assert fitting(conf, plain) == conf
        for odd in (conf, f"{conf}\n# {word} is not used by a remark\n"):
            with pytest.raises(ConfigError, match=f"does not use {re.escape(word)}, so"):
                fitting(odd, needs)
    today = (EARLIER[0].parents[2] / "nginx.conf").read_text()
    assert fitting(today, needs) == today


def test_replicas_behind_links_need_an_nginx_conf_that_asks_another_one(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.make_state()
    KeyStore(lab.keys_file).ensure()
    textrank = Model(runtime="extractive", source="embedded:textrank")
    one = Settings(deployment="textrank", name="textrank", model=textrank)
    plan = Plan(Config(), "textrank", (one,))
    for earlier in EARLIER:
        with pytest.raises(ConfigError, match="does not use @turned_away"):
            ray_engine(lab).staging.stage(plan, find_nginx(), earlier / "nginx.conf")


@pytest.fixture(scope="module", params=EARLIER, ids=lambda earlier: earlier.name)
def earlier(request: pytest.FixtureRequest, make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """What an earlier llmlab has left, brought up; first its lab.toml is mended as it is told."""
    lab = taken_over(request.param, make_lab())
    file = lab.root / "configs" / "lab.toml"
    if GONE.search(file.read_text()):
        refused = lab.run("up")
        assert refused.returncode == 2
        assert "rollout.latency_gate says it now" in " ".join(refused.stderr.split())
        file.write_text(GONE.sub("", file.read_text()))
    lab.ok("up")
    return lab


def test_the_ledger_is_whole_and_goes_on(earlier: LabUnderTest) -> None:
    earlier.ok("ledger", "verify")
    entries = earlier.json("ledger", "show", "--last", "100")
    kinds = [one["kind"] for one in entries]
    assert {"key", "lab", "deployment", "flag", "rollout", "route"} <= set(kinds)
    assert (entries[0]["seq"], kinds[0]) == (1, "key")
    downs = [one["seq"] for one in entries if one["document"].get("did") == "down"]
    assert len(entries) > downs[0]  # brought up again, by this code


def test_the_traffic_is_as_it_was(earlier: LabUnderTest) -> None:
    status = earlier.json("status")
    assert status["healthy"]
    assert {one["name"]: one["weight"] for one in status["deployments"]} == {
        "textrank": 0, "next": 60, "third": 40,
    }  # fmt: skip


def test_no_api_key_is_made_that_its_gateway_would_refuse(earlier: LabUnderTest) -> None:
    refused = earlier.run("keys", "api", "create", "--sub", "ada")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "does not use $lab_credential" in refused.stderr
    assert earlier.json("keys", "api", "list") == []


def test_its_rollouts_are_told_and_the_one_under_way_can_be_ended(earlier: LabUnderTest) -> None:
    told = [
        (one["number"], one["kind"], one["phase"]) for one in earlier.json("rollout", "history")
    ]
    assert told == [
        (1, "canary", "aborted"),
        (2, "bluegreen", "completed"),
        (3, "canary", "paused"),
    ]
    earlier.ok("rollout", "abort", "--why", "the upgrade is over")
    assert earlier.run("rollout", "status", "--timeout", "60s").returncode == 8


def test_its_flags_are_as_they_were(earlier: LabUnderTest) -> None:
    flags = {one["name"]: one for one in earlier.json("flag", "list")}
    assert flags["brief"]["percent"] == 30
    assert flags["next-for-ada"]["audience"] == [["sub", "ada"]]
    assert earlier.json("flag", "history")


def test_its_registered_model_is_listed_shown_and_unchanged(earlier: LabUnderTest) -> None:
    assert "tiny:1" in [one["name"] for one in earlier.json("models", "list")]
    shown = earlier.json("models", "show", "good")
    assert shown["license"] == "Apache-2.0"
    earlier.ok("models", "verify")


def test_tokens_of_both_its_keys_are_let_in_and_sent_where_they_were(
    earlier: LabUnderTest, article: str
) -> None:
    keys = KeyStore(earlier.lab.keys_file).read().keys
    assert len(keys) == 2
    for key in keys:
        token = mint(key, Claims(sub="ada"))
        answer = httpx2.post(
            f"{earlier.url}/summarize/", json={"text": article}, timeout=60, trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        traced = earlier.traced(answer.headers["X-Request-ID"])
        assert traced["served_by"]["deployment"] == "next"  # by the flag of ada
