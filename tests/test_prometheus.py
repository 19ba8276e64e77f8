"""A real Prometheus reads a real lab; and it judges the rules and the dashboard.

Needs the programs prometheus and promtool; run by `make test-prometheus`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.conftest import LabUnderTest, free_port, wait_until

pytestmark = pytest.mark.prometheus

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs" / "observability"
RULES = CONFIGS / "prometheus" / "rules.yml"
DASHBOARD = CONFIGS / "grafana" / "dashboards" / "llmlab.json"


def promtool(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], text=True, capture_output=True, timeout=60, input=stdin
    )


# --- rules -----------------------------------------------------------------------------


def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    checked = promtool("check", "config", str(CONFIGS / "prometheus" / "prometheus.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    tested = promtool("test", "rules", str(HERE / "observability" / "rules_test.yml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test() -> None:
    tests = yaml.safe_load((HERE / "observability" / "rules_test.yml").read_text())["tests"]
    fired = {
        one["alertname"] for test in tests for one in test.get("alert_rule_test", [])
        if one["exp_alerts"]
    }  # fmt: skip
    groups = yaml.safe_load(RULES.read_text())["groups"]
    assert fired == {one["alert"] for group in groups for one in group["rules"] if "alert" in one}


# --- a lab -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(
        gateway__rate_limit__rate='"50r/s"', gateway__rate_limit__burst="5", service__cache="0"
    )
    one.ok("up")
    return one


class Prometheus:
    """A Prometheus of our own, as a person runs one beside a lab of the local engine."""

    def __init__(self, folder: Path, target: int) -> None:
        self.port = free_port()
        document = yaml.safe_load((CONFIGS / "prometheus" / "prometheus.yml").read_text())
        document["global"] = {
            "scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"
        }  # fmt: skip
        document["rule_files"] = [str(RULES)]
        document["scrape_configs"] = [
            {"job_name": "llmlab", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def ask(self, expression: str) -> Any:
        """The result of a query; insists that it is one."""
        answer = httpx2.post(
            f"http://127.0.0.1:{self.port}/api/v1/query",
            data={"query": expression}, timeout=20, trust_env=False,
        ).json()  # fmt: skip
        assert answer["status"] == "success", f"{expression}: {answer}"
        return answer["data"]["result"]

    def values(self, expression: str, label: str = "deployment") -> dict[str, float]:
        return {
            one["metric"].get(label, ""): float(one["value"][1]) for one in self.ask(expression)
        }

    def ready(self) -> bool:
        try:
            where = f"http://127.0.0.1:{self.port}/-/ready"
            return httpx2.get(where, timeout=2, trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def prometheus(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    port = free_port()
    exporter = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "metrics", "--listen", str(port)],
        cwd=lab.root, env=lab.env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert exporter.stderr
    assert f"http://127.0.0.1:{port}/metrics" in exporter.stderr.readline()
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), port)
    try:
        wait_until(server.ready, 60)
        yield server
    finally:
        server.stop()
        exporter.terminate()
        exporter.wait(20)


def test_it_reads_the_weights_of_the_routes(prometheus: Prometheus) -> None:
    wait_until(lambda: bool(prometheus.ask("llmlab_route_weight")), 30)
    assert prometheus.values("max_over_time(llmlab_route_weight[5m])") == {"textrank": 100}
    wait_until(lambda: prometheus.values('up{job="llmlab"}') == {"": 1}, 30)


def test_it_knows_how_many_requests_a_second_each_deployment_gets(
    lab: LabUnderTest, prometheus: Prometheus
) -> None:
    wait_until(lambda: bool(prometheus.ask("llmlab_gateway_requests_total")), 30)

    with lab.client() as client:
        for number in range(25):
            text = f"The tide is late today. The boats wait at quay {number}."
            assert client.post("/summarize/", json={"text": text}).status_code in (200, 429)
    # The rules are evaluated once a second, each on what the one before has found.
    wait_until(lambda: prometheus.values("llmlab:requests:rate1m").get("textrank", 0) > 0.1, 30)
    wait_until(lambda: prometheus.values("llmlab:errors:ratio1m") == {"textrank": 0}, 30)
    wait_until(lambda: prometheus.values("llmlab:route_share:percent5m") == {"textrank": 100}, 30)
    assert prometheus.values("max_over_time(llmlab_input_tokens_total[5m])")["textrank"] > 0


def test_it_sees_what_the_gateway_refuses(lab: LabUnderTest, prometheus: Prometheus) -> None:
    def refused() -> dict[str, float]:
        # The highest of late: on a busy machine a scrape may be late, and so without a value.
        return prometheus.values("max_over_time(llmlab_gateway_refused_total[5m])", "status")

    wait_until(lambda: bool(refused()), 30)
    before = refused()

    def ask(_: int) -> int:
        with lab.client() as client:
            return client.post("/summarize/", json={"text": "The tide is late."}).status_code

    with ThreadPoolExecutor(8) as pool:
        limited = list(pool.map(ask, range(60))).count(429)
    assert httpx2.get(f"{lab.url}/", trust_env=False).status_code == 401
    more = {"401": before["401"] + 1, "429": before["429"] + limited}
    wait_until(lambda: refused() == before | more, 30)


def test_no_alert_fires_in_a_lab_that_is_well(prometheus: Prometheus) -> None:
    wait_until(lambda: bool(prometheus.ask("llmlab_ready")), 30)
    assert prometheus.ask('ALERTS{alertstate="firing"}') == []


# --- the dashboard ---------------------------------------------------------------------


def expressions() -> list[str]:
    """Every PromQL expression of the dashboard, its variables filled in as Grafana does."""
    document = json.loads(DASHBOARD.read_text())
    found = [
        target["expr"] for panel in document["panels"] for target in panel.get("targets", [])
    ] + [one["expr"] for one in document["annotations"]["list"]]
    filled = {"$__rate_interval": "1m", "$__interval": "15s", "$deployment": ".*"}
    for name, value in filled.items():
        found = [one.replace(name, value) for one in found]
    assert not [one for one in found if "$" in one]
    return found


@pytest.mark.parametrize("expression", expressions())
def test_every_panel_asks_what_prometheus_understands(
    prometheus: Prometheus, expression: str
) -> None:
    prometheus.ask(expression)


def test_panels_ask_for_metrics_that_a_lab_has(lab: LabUnderTest, prometheus: Prometheus) -> None:
    """A name that is misspelt would show as an empty panel, and nothing else."""
    names = {
        name for one in expressions()
        for name in re.findall(r"\b(?:llmlab|process)[a-z_:0-9]*\b", re.sub(r'"[^"]*"', '""', one))
    }  # fmt: skip
    assert len(names) >= 20
    wait_until(lambda: bool(prometheus.ask("llmlab_gateway_shared_requests_total")), 30)
    with lab.client() as client:
        client.post("/summarize/", json={"text": "The tide is late today. The boats wait."})

    def missing() -> set[str]:
        return {name for name in names if not prometheus.ask(f"present_over_time({name}[5m])")}

    wait_until(lambda: not missing(), 30)


# --- what the command prints -----------------------------------------------------------


def test_promtool_finds_nothing_wrong_with_what_the_command_prints(lab: LabUnderTest) -> None:
    """Its lint has opinions on names as well; the names of the APIs' families are theirs."""
    page = lab.ok("metrics", "-o", "prometheus")
    checked = promtool("check", "metrics", stdin=page)
    assert checked.returncode in (0, 3), checked.stderr  # 3: lint only
    assert "error while linting" not in checked.stderr
    assert shutil.which("promtool")
