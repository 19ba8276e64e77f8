"""What lies in configs/observability, and the profile of docker-compose.yml, without running it."""

from __future__ import annotations

import configparser
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs" / "observability"
GRAFANA = CONFIGS / "grafana"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROFILED = ("prometheus", "grafana")
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "llmlab.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
DRAWN = [one for one in PANELS if one["type"] != "row"]


# --- docker-compose.yml ------------------------------------------------------------------


def test_they_start_only_when_their_profile_is_asked_for() -> None:
    assert {name: one.get("profiles") for name, one in COMPOSE["services"].items()} == {
        "llmapi": None, "nginx": None, "jupyter": None, "waf": ["waf"],
        "prometheus": ["observability"], "grafana": ["observability"],
    }  # fmt: skip


@pytest.mark.parametrize("name", PROFILED)
def test_they_have_as_few_rights_as_the_others(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert all(one.endswith(":ro") for one in service["volumes"] if one.startswith("."))


@pytest.mark.parametrize("name", PROFILED)
def test_they_are_for_this_machine_only(name: str) -> None:
    assert all(one.startswith("127.0.0.1:") for one in COMPOSE["services"][name]["ports"])


@pytest.mark.parametrize("name", PROFILED)
def test_their_images_are_of_one_version_and_can_be_replaced(name: str) -> None:
    image = COMPOSE["services"][name]["image"]
    assert image.startswith(f"${{{name.upper()}_IMAGE:-")
    version = image.removesuffix("}").rpartition(":")[2].removeprefix("v")
    assert all(part.isdecimal() for part in version.split("."))


def test_grafana_cannot_reach_the_apis() -> None:
    assert COMPOSE["services"]["grafana"]["networks"] == ["observability"]
    assert COMPOSE["networks"]["api"]["internal"] is True


def test_prometheus_reads_from_the_gateway_which_apis_there_are() -> None:
    scraped = yaml.safe_load((CONFIGS / "prometheus" / "prometheus.yml").read_text())
    jobs = {one["job_name"]: one for one in scraped["scrape_configs"]}
    (found,) = jobs["llmapi"]["http_sd_configs"]
    (gateway,) = jobs["gateway"]["static_configs"][0]["targets"]
    assert found["url"] == f"http://{gateway}/apis"


# --- Grafana -----------------------------------------------------------------------------


def test_whoever_opens_grafana_may_look_and_nobody_may_log_in() -> None:
    settings = configparser.ConfigParser(comment_prefixes=(";", "#"))
    settings.read(GRAFANA / "grafana.ini")
    assert settings["auth.anonymous"]["org_role"] == "Viewer"
    assert settings["auth"].getboolean("disable_login_form")
    assert not settings["auth.basic"].getboolean("enabled")
    assert settings["security"].getboolean("disable_initial_admin_creation")
    assert not settings["analytics"].getboolean("reporting_enabled")


def test_the_dashboard_asks_the_datasource_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    used = [one["datasource"] for one in DRAWN]
    used += [target["datasource"] for one in DRAWN for target in one["targets"]]
    used += [one["datasource"] for one in DASHBOARD["annotations"]["list"]]
    used += [one["datasource"] for one in DASHBOARD["templating"]["list"]]
    assert all(one == wanted for one in used)


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/dashboards/llmlab.yml").read_text())
    (provider,) = provisioned["providers"]
    settings = (GRAFANA / "grafana.ini").read_text()
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert "default_home_dashboard_path = /etc/grafana/dashboards/llmlab.json" in settings
    assert (
        "./configs/observability/grafana:/etc/grafana:ro"
        in (COMPOSE["services"]["grafana"]["volumes"])
    )


def test_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    assert len({one["id"] for one in PANELS}) == len(PANELS)
    assert len({one["title"] for one in PANELS}) == len(PANELS)
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
        assert one["x"] + one["w"] <= 24


def test_every_panel_says_something_and_in_which_unit() -> None:
    for panel in DRAWN:
        assert panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        letters = [one["refId"] for one in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_the_dashboard_shows_what_was_wanted_beside_what_was_measured() -> None:
    (split,) = [one for one in PANELS if one["title"].startswith("Split")]
    asked = " ".join(one["expr"] for one in split["targets"])
    assert "llmlab_route_weight" in asked
    assert "llmlab:route_share:percent5m" in asked
