"""The console as people use it, in a real browser, under both engines: an operator who tries,
decides and takes back; a viewer who may change nothing. Run by: make test-browser
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import psutil
import pytest

from llmlab.console import menu
from llmlab.processes import lab_processes
from llmlab.rollout.state import Phase
from llmlab.rollout.store import Rollouts
from tests.conftest import LabUnderTest, wait_until
from tests.console_browser import ConsolePage, console_browser
from tests.test_engines import laid_out
from tests.test_rollout_lab import TWIN, load
from tests.two_engines import engine  # noqa: F401  a fixture

pytestmark = pytest.mark.browser

TEXT = "The lamp was lit at dusk by Ingrid Halvorsen. 14 boats came in. The hall stood empty."
# Long enough for a browser to break the candidate within a step.
CANARY = {"model": "twin", "steps": "20,50,80,100", "interval": "20s"}
GATE = {"text_gate": "", "min_samples": "10"}
ENDED = 240.0  # seconds within which a rollout is over, on a machine that has other things to do


@pytest.fixture(scope="module")
def lab(
    engine: str, make_lab: Callable[..., LabUnderTest], request: pytest.FixtureRequest  # noqa: F811
) -> LabUnderTest:  # fmt: skip
    one = laid_out(
        engine, make_lab, request, console__enabled='"on"', rollout__error_margin="0.05",
        rollout__bake="2", rollout__progress_deadline="600",
        rollout__latency_gate='"p50<=2x p95<=3x"',  # machines that run tests are shared
    ).lab  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN)
    one.ok("up")
    one.ok("deploy", "twin")
    return one


@contextmanager
def signed_in(lab: LabUnderTest, *options: str) -> Iterator[ConsolePage]:
    """A browser in which the address was opened that ``llmlab console`` prints."""
    address = lab.ok("console", "--no-browser", *options).strip()
    with console_browser() as page:
        page.open(address)
        page.wait_for("Which way requests go")
        assert page.address == f"{lab.url}/console/overview"
        yield page
        assert page.blocked() == []


def go(page: ConsolePage, lab: LabUnderTest, where: str) -> None:
    page.open(f"{lab.url}/console/{where}")


def last_phase(lab: LabUnderTest) -> Phase:
    kept = Rollouts(lab.lab).last()
    assert kept
    return kept.rollout.phase


def start_canary(page: ConsolePage, lab: LabUnderTest, why: str, **values: str) -> None:
    """By the form, which says first what it takes."""
    go(page, lab, "rollout")
    page.press("Plan a rollout")
    page.press("The gate")
    for name, value in (CANARY | GATE | values).items():
        page.fill(f"#plan-{name}", value)
    page.press("What does it take?")
    page.wait_for("answers")  # how many it takes
    page.fill("#plan-why", why)
    page.press("Start")
    page.wait_for("canary of twin")
    page.wait_for(why)


def drill(page: ConsolePage, how: str, why: str, share: str = "100") -> None:
    page.choose("#drill-of", "twin")
    page.choose("#drill-kind", how)
    page.fill("#drill-share", share)
    page.fill("#drill-why", why)
    page.press("Drill", "form")


def test_an_operator_tries_decides_and_takes_back(lab: LabUnderTest) -> None:
    with signed_in(lab) as page, load(lab, rate=30) as told:
        request_id = asks_two_models(page, lab)
        start_canary(page, lab, "a canary from the form")
        page.wait("return document.querySelector('.rollout-steps [aria-current=step]')")
        page.wait("return document.querySelector('.rollout-steps .done')")  # it has stepped
        page.picture("console/canary-steps", 1440)
        drill(page, "Have it answer with 500", "broken on purpose")
        page.wait_for("A drill is on")
        # The tile turns, and why it was given back is said.
        page.wait("return document.querySelector('.rollout-tiles .card.wrong')")
        wait_until(lambda: last_phase(lab) is Phase.ABORTED, ENDED)
        page.wait("return document.querySelector('.rollout-head.wrong')")
        said = page.run("return document.querySelector('.rollout-why').innerText")
        assert "errors" in said.lower(), said
        page.picture("console/canary-aborted", 1440)
        lab.ok("drill", "off", "--deployment", "twin")
        start_canary(page, lab, "once more", interval="2s")
        wait_until(lambda: last_phase(lab) is Phase.COMPLETED, ENDED)
        page.wait_for("Undo")
        page.fill("#rollout-why", "the old one was better")
        page.press("Undo")
        page.wait_for("the old one was better")
        wait_until(lambda: last_phase(lab) is Phase.COMPLETED, ENDED)
        page.wait("return document.querySelector('.rollout-head.good')")
        finds_a_request(page, lab, request_id)
        assert page.problems() == []
    assert told.served["twin"] and told.served["textrank"]
    entries = lab.json("ledger", "show", "--last", "50")
    reasons = {one["why"] for one in entries}
    assert {"a canary from the form", "once more", "the old one was better"} <= reasons
    assert lab.json("ledger", "verify")["whole"] is True


def asks_two_models(page: ConsolePage, lab: LabUnderTest) -> str:
    """Beside each other; the id of one of the requests."""
    go(page, lab, "playground?kind=summary")
    page.choose("#one", "textrank")
    page.choose("#two", "twin")
    page.fill("#said", TEXT)
    page.press("Summarize")
    page.wait("return document.querySelectorAll('#turns a[href*=\"requests/show\"]').length === 2")
    shown = page.shown()
    assert shown.count("Content id") == 2 and "Ingrid Halvorsen" in shown
    page.picture("console/playground-asked", 1440)
    link = page.run("return document.querySelector('#turns a[href*=\"requests/show\"]').href")
    return str(link).rpartition("id=")[2]


def finds_a_request(page: ConsolePage, lab: LabUnderTest, request_id: str) -> None:
    go(page, lab, "requests")
    page.fill("main [name=id]", request_id)
    page.run("document.querySelector('main [name=id]').form.requestSubmit()")
    page.wait(f"return location.search.includes({request_id!r})")
    page.wait_for(request_id[:12])
    go(page, lab, f"requests/show?id={request_id}")
    page.wait_for("textrank")
    page.picture("console/request-found", 1440)


def test_a_viewer_looks_and_changes_nothing(lab: LabUnderTest) -> None:
    before = lab.json("ledger", "verify")
    with signed_in(lab, "--viewer") as page:
        for one in menu.PAGES:
            if one.name:
                go(page, lab, one.path)
                assert "viewer" in page.shown()
                # To ask a model is no change of the lab.
                forms = page.run(
                    "return [...document.querySelectorAll('main form[method=post]')]"
                    ".map(one => new URL(one.action).pathname)"
                )
                assert set(forms) <= {"/console/playground/ask"}, one.path
        statuses = {
            change.path: page.post(f"/console/{change.path}", why="forged", number="1")
            for change in menu.CHANGES
        }
    assert statuses and set(statuses.values()) == {403}
    assert lab.json("ledger", "verify") == before


def console_process(lab: LabUnderTest) -> psutil.Process | None:
    found = lab_processes(lab.lab.state, "llmlab.console")
    return found[0] if found else None


def test_a_console_that_is_killed_is_back_and_nobody_else_notices(lab: LabUnderTest) -> None:
    answered: list[int] = []

    def ask() -> None:
        with lab.client() as client:
            for _ in range(3):
                answered.append(client.post("/summarize/", json={"text": TEXT}).status_code)

    with signed_in(lab) as page:
        lab.ok("drill", "slow", "--deployment", "textrank", "--seconds", "2")
        page.run("window.before = true")
        asking = threading.Thread(target=ask)
        asking.start()
        killed = console_process(lab)
        assert killed
        killed.send_signal(signal.SIGKILL)
        page.wait_for("The console is not reached")  # which the open page says ...
        back = wait_until(lambda: _answers(lab), 30)
        page.wait("return document.getElementById('stream').innerText === ''")
        asking.join(60)
        lab.ok("drill", "off", "--deployment", "textrank")
        lab.ok("deploy", "twin", "--name", "newcomer")
        page.wait_for("newcomer")  # ... and then goes on, without being loaded anew
        assert page.run("return window.before") is True
        lab.ok("deployment", "stop", "newcomer")
    assert answered == [200, 200, 200]
    again = console_process(lab)
    assert again and again.pid != killed.pid
    print(f"it answered after {back:.1f} s")


def _answers(lab: LabUnderTest) -> bool:
    token = lab.token("ada", extra={"scope": "llmlab:viewer"})
    asked = httpx2.get(
        f"{lab.url}/console/overview.json", headers={"Authorization": f"Bearer {token}"},
        timeout=30, trust_env=False,
    )  # fmt: skip
    return asked.status_code == 200


def test_one_whose_session_ends_is_led_to_sign_in(lab: LabUnderTest) -> None:
    token = lab.ok("token", "--sub", "guest", "--scope", "viewer").strip()
    with console_browser() as page:
        go(page, lab, "overview")
        page.wait_for("Sign in")
        page.fill("#token", "eyJ.no.token")
        page.press("Sign in", "form")
        page.wait("return document.querySelector('[role=alert]')")
        page.fill("#token", token)
        page.press("Sign in", "form")
        page.wait_for("Which way requests go")
        lab.ok("token", "revoke", "--sub", "guest", "--why", "they have left")
        page.wait_for(
            "You are signed out"
        )  # by itself: the gateway's new configuration ends streams
        assert page.count("nav a") == 0
