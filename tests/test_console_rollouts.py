"""The console's page of rollouts: what it shows to whom, and what is done from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from llmlab.console import rollout_changes, rollout_planned, rollouts
from llmlab.console.app import build_app
from llmlab.console.desk import Desk
from llmlab.console.pages import live_part
from llmlab.console.rollout_changes import buttons, drill_of
from llmlab.console.rollout_tiles import tile
from llmlab.console.visitor import Role, Visitor
from llmlab.console.watching import Watch
from llmlab.engines.status import LabStatus
from llmlab.errors import UsageError
from llmlab.evaluate.statistics import difference_of_samples
from llmlab.lab import Lab, init_lab
from llmlab.rollout.desk import view_of
from llmlab.rollout.linting import lint
from llmlab.rollout.pairs import Sums
from llmlab.rollout.pairs_gate import SAID
from llmlab.rollout.possible import ways
from llmlab.rollout.state import (
    Finding,
    Judged,
    Kind,
    Outcome,
    Paused,
    Phase,
    Rollout,
    Rules,
    Verdict,
)
from llmlab.rollout.store import Rollouts
from llmlab.rollout.worst_pair import WorstPair, WorstPairs
from llmlab.service.drill import Kind as Misbehaving
from tests.rollouts import at
from tests.test_console_overview import status
from tests.test_rollout_verbs import Office, config

SCRIPT = "<script>alert(1)</script>"
SAME = {"Sec-Fetch-Site": "same-origin"}
FIGURES = {
    "candidate": 0.12, "candidate_n": 100.0, "stable": 0.02, "stable_n": 400.0, "margin": 0.01,
    "fail_wealth": 60.0, "fail_at": 50.0, "pass_wealth": 0.5, "pass_at": 2.0,
}  # fmt: skip
UNDECIDED = Verdict(
    Outcome.INCONCLUSIVE, "", (Finding("text", Outcome.INCONCLUSIVE, "text: not yet"),), 9
)
BROKEN = (Judged(1.0, 2, Verdict(Outcome.INCONCLUSIVE, "", broke="30 % errors")),)
PASSES = "every test of the gate passes"
COMPARED = "the two are compared until a person promotes one of them"
FAILED = Finding("errors", Outcome.FAIL, f"errors: too many {SCRIPT}", FIGURES)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(Desk, "cookie", "console")  # whose name is a running lab's
    init_lab(tmp_path / "lab")
    return Lab(tmp_path / "lab")


def client(lab: Lab, role: Role = Role.OPERATOR) -> TestClient:
    return TestClient(
        build_app(lab, lambda: "r", pages=rollouts.PAGES, changes=rollouts.CHANGES),
        headers={"X-Subject": "alice", "X-Role": role}, follow_redirects=False,
    )  # fmt: skip


def begun(lab: Lab, phase: Phase, **values: Any) -> Rollout:
    return Rollouts(lab).create(lambda number, *_: at(phase, number=number, **values))


def worst(lab: Lab, number: int) -> None:
    pair = WorstPair(
        1.7e9, f"Ada sailed to Rome. {SCRIPT}", "Ada sailed to Paris.", "Ada sailed to Rome.",
        {"unsupported": (1.0, 0.0)},
    )  # fmt: skip
    WorstPairs(lab).keep(number, pair)


def test_without_any_rollout_it_says_how_to_begin_one(lab: Lab) -> None:
    page = client(lab).get("/console/rollout")
    assert page.status_code == 200
    assert "llmlab rollout start canary MODEL" in page.text
    told = client(lab).get("/console/rollout.json")
    assert (told.status_code, told.json()["detail"]) == (404, "there was no rollout yet")


def test_what_others_wrote_is_text_and_no_policy_is_broken(lab: Lab) -> None:
    verdict = Verdict(Outcome.FAIL, FAILED.reason, (FAILED,), 100)
    begun(lab, Phase.ABORTED, who=SCRIPT, why=SCRIPT, verdict=verdict)
    one = begun(lab, Phase.PROGRESSING, who=SCRIPT, why=SCRIPT, verdict=verdict)
    worst(lab, one.number)
    for path in ("rollout", "rollout?number=1", "rollout/history", "rollout/pairs"):
        text = client(lab).get(f"/console/{path}").text
        assert "alert(1)" in text
        assert "<script>" not in text
        assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", text)


def test_the_live_part_is_rendered_alone(lab: Lab) -> None:
    begun(lab, Phase.PROGRESSING, verdict=Verdict(Outcome.FAIL, "", (FAILED,), 100))
    visitor = Visitor("", Role.OPERATOR)
    text = live_part(
        "rollout.html.j2", visitor=visitor, found=rollouts.gather(Desk(lab), {}, visitor)
    )
    assert "Rollout 1: canary of tuned-2" in text
    assert "<html" not in text


@pytest.mark.parametrize(
    ("kind", "measured", "told"),
    [(Kind.CANARY, {"base": 68.3}, True), (Kind.CANARY, {}, False),
     (Kind.SHADOW, {"base": 100.0}, False)],
)  # fmt: skip
def test_why_what_is_measured_is_not_what_was_requested_is_said_where_it_may_be(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: Kind, measured: dict[str, float], told: bool
) -> None:
    begun(lab, Phase.PROGRESSING, kind=kind)
    monkeypatch.setattr(rollouts.picture, "measured", lambda _: measured)
    text = client(lab).get("/console/rollout").text
    assert ("A share is one of callers" in text) is told


class Counted:
    """An engine under which a lab runs, as far as its status goes."""

    def __init__(self) -> None:
        self.asked = 0

    def status(self) -> LabStatus:
        self.asked += 1
        return status()


def test_however_many_look_at_rollouts_the_engine_is_asked_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, watching = Counted(), "llmlab.console.watching."
    watched = Watch(lab, lambda: engine, lambda: 1000.0)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(f"{watching}look", lambda engine, _: engine.status())
    monkeypatch.setattr("llmlab.observe.observer.Observer.look", lambda *_: None)
    for module in ("rollouts", "desk"):
        monkeypatch.setattr(f"llmlab.console.{module}.watch", lambda _: watched)
    begun(lab, Phase.PROGRESSING)
    for role in (*Role, *Role):
        found = rollouts.gather(Desk(lab), {}, Visitor("", role))
        assert found.one and found.one.view.running
        assert Desk(lab).engine is engine
    assert engine.asked == 1


def test_its_document_is_the_verbs(lab: Lab) -> None:
    begun(lab, Phase.ABORTED)
    begun(lab, Phase.COMPLETED)
    assert client(lab).get("/console/rollout.json").json() == view_of(lab, None).as_json()
    earlier = client(lab).get("/console/rollout.json?number=1").json()
    assert (earlier["number"], earlier["phase"]) == (1, "aborted")
    listed = client(lab).get("/console/rollout/history.json").json()
    assert listed == [one.as_json() for one in Rollouts(lab).history()]


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"number": "7"}, 404), ({"route": "zz"}, 404), ({"number": "-1"}, 400),
     ({"number": "x"}, 400), ({"number": "²"}, 400), ({"number": "9" * 30}, 400)],
)  # fmt: skip
@pytest.mark.parametrize("empty", [True, False])
def test_a_rollout_that_is_not_there_is_told_of(
    lab: Lab, asked: dict[str, str], status: int, empty: bool
) -> None:
    if not empty:
        begun(lab, Phase.ABORTED)
    for path in ("rollout", "rollout.json", "rollout/pairs"):
        page = client(lab).get(f"/console/{path}", params=asked)
        assert (page.status_code, "llmlab rollout" in page.text) == (status, True)


def test_a_second_later_an_idle_page_reads_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = 1.7e9
    begun(lab, Phase.PROGRESSING, created=began, since=began)
    visitor, seen = Visitor("", Role.OPERATOR), []
    for later in (11.0, 12.0, 60.0):
        monkeypatch.setattr("time.time", lambda later=later: began + later)
        found = rollouts.gather(Desk(lab), {}, visitor)
        seen.append(live_part("rollout.html.j2", visitor=visitor, found=found))
    assert seen[0] == seen[1] != seen[2]


def test_a_viewer_sees_no_button_and_no_text_of_a_client(lab: Lab) -> None:
    one = begun(lab, Phase.PROGRESSING)
    worst(lab, one.number)
    seen = {role: client(lab, role).get("/console/rollout").text for role in Role}
    assert (
        '<mark class="wrong" title="stands nowhere in the text">Paris</mark>'
        in (seen[Role.OPERATOR])
    )
    assert "Paris" not in seen[Role.VIEWER]
    assert seen[Role.VIEWER].count("<button") == 1  # signing out
    for path in ("rollout/pairs", "rollout/pairs.json", "rollout/start"):
        assert client(lab, Role.VIEWER).get(f"/console/{path}").status_code == 403


def test_what_is_held_against_an_answer_is_said_of_it_in_a_sentence(lab: Lab) -> None:
    assert all(re.match("(has|is) ", said) for said in SAID.values())
    rules = Rules(steps=(50, 100), pairs=0.1, pairs_gate="unsupported<=+0.02 empty<=+0.02")
    worst(lab, begun(lab, Phase.PROGRESSING, rules=rules).number)
    page = client(lab).get("/console/rollout/pairs").text
    assert "The candidate&#39;s answer has a name or a number that the text does not have." in (
        page.replace("'", "&#39;")
    )


@pytest.mark.parametrize("path", ["rollout/do", "rollout/undo", "rollout/drill", "rollout/start"])
def test_a_viewer_and_another_page_change_nothing(lab: Lab, path: str) -> None:
    begun(lab, Phase.PROGRESSING)
    form = {"number": "1", "do": "abort", "why": "I can", "route": "summarize"}
    viewed = client(lab, Role.VIEWER).post(f"/console/{path}", data=form, headers=SAME)
    crossed = client(lab).post(
        f"/console/{path}", data=form, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert (viewed.status_code, crossed.status_code) == (403, 403)
    assert Rollouts(lab).get(1).rollout.phase is Phase.PROGRESSING


def test_whoever_aborts_says_why_and_the_ledger_has_both(lab: Lab) -> None:
    begun(lab, Phase.PROGRESSING)
    silent = client(lab).post(
        "/console/rollout/do", data={"number": "1", "do": "abort", "why": "  "}, headers=SAME
    )
    assert (silent.status_code, Rollouts(lab).get(1).rollout.phase) == (400, Phase.PROGRESSING)
    done = client(lab).post(
        "/console/rollout/do", data={"number": "1", "do": "abort", "why": SCRIPT}, headers=SAME
    )
    assert (done.status_code, done.headers["location"]) == (303, "/console/rollout?number=1")
    assert Rollouts(lab).get(1).rollout.phase is Phase.ABORTING
    entry = Desk(lab).store.entries(kind="rollout")[-1]
    assert (entry.who, entry.why, entry.document["event"]) == ("alice", SCRIPT, "abort")


def test_a_page_of_before_changes_no_later_rollout(lab: Lab) -> None:
    begun(lab, Phase.ABORTED)
    begun(lab, Phase.PROGRESSING)
    done = client(lab).post(
        "/console/rollout/do", data={"number": "1", "do": "abort", "why": "late"}, headers=SAME
    )
    assert done.status_code == 400
    assert Rollouts(lab).get(2).rollout.phase is Phase.PROGRESSING


@pytest.mark.parametrize(
    ("one", "offered"),
    [
        (at(Phase.STARTING), ["abort"]),
        (at(Phase.PROGRESSING), ["pause", "promote", "promote full", "abort"]),
        (at(Phase.PAUSED), ["resume", "promote", "promote full", "abort"]),
        (at(Phase.PAUSED, Kind.SHADOW), ["resume", "abort"]),
        (at(Phase.PROGRESSING, Kind.BLUEGREEN), ["pause", "promote", "abort"]),
        (at(Phase.PROGRESSING, Kind.AB), ["pause", "promote base", "promote tuned-2", "abort"]),
        (at(Phase.COMPLETING), ["abort"]),
        (at(Phase.ABORTING), []),
        (at(Phase.COMPLETED), []),
    ],
    ids=lambda one: f"{one.kind}-{one.phase}" if isinstance(one, Rollout) else "",
)
def test_only_what_makes_sense_is_offered(one: Rollout, offered: list[str]) -> None:
    assert [each.value for each in buttons(one, 2000.0)] == offered
    assert all(way.after != one for way in ways(one, 2000.0))


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (at(Phase.ABORTED), "because"),
        (at(Phase.STARTING), "tuned-2 is being started; it gets requests once it answers"),
        (at(Phase.PROGRESSING), "nothing is known of this step yet"),
        (at(Phase.PROGRESSING, verdict=UNDECIDED), "not decided yet: text"),
        (at(Phase.PROGRESSING, verdict=Verdict(Outcome.PASS, "all")), PASSES),
        (at(Phase.PROGRESSING, Kind.AB, verdict=UNDECIDED), COMPARED),
        (at(Phase.PAUSED, verdict=UNDECIDED), "a person paused it; not decided yet: text"),
        (at(Phase.PAUSED, paused=Paused.BROKE, judged=BROKEN),
         "something broke again and again: 30 % errors"),
        (at(Phase.PROGRESSING, setbacks=1, judged=BROKEN), "back by a step: 30 % errors"),
    ],
    ids=lambda one: f"{one.kind}-{one.phase}" if isinstance(one, Rollout) else "",
)  # fmt: skip
def test_why_it_is_where_it_is_is_one_sentence(one: Rollout, said: str) -> None:
    assert rollouts.because(one) == said


@pytest.mark.parametrize(
    ("one", "looks"),
    [
        (at(Phase.STARTING), ["later"] * 5),
        (at(Phase.PROGRESSING), ["done", "now", "later", "later", "later"]),
        (at(Phase.PROGRESSING, step=4, baking=True), ["done"] * 4 + ["now"]),
        (at(Phase.COMPLETED, step=4, baking=True), ["done"] * 5),
        (at(Phase.COMPLETED), ["done", "done", "later", "later", "later"]),  # in full
        (at(Phase.ABORTED), ["done", "ended", "later", "later", "later"]),
        (at(Phase.PROGRESSING, Kind.AB), []),
    ],
    ids=lambda one: f"{one.kind}-{one.phase}" if isinstance(one, Rollout) else "",
)
def test_steps_are_done_now_or_to_come(one: Rollout, looks: list[str]) -> None:
    assert [each.look for each in rollouts.steps(one)] == looks


def test_a_step_that_has_less_than_was_asked_for_says_why() -> None:
    names = [each.name for each in rollouts.steps(at(Phase.PROGRESSING))]
    assert names[2:4] == ["50 %", "95 %, 5 % held back"]


def test_a_tile_has_estimate_interval_and_bound_on_one_line() -> None:
    shown = tile(FAILED)
    assert (shown.title, shown.sign, shown.word) == ("Errors", "✗", "fails")
    (line,) = shown.gauges
    assert line.low is not None and line.high is not None and line.bound is not None
    assert line.zero is not None and line.zero < line.bound < line.low < line.estimate < line.high
    assert (line.at, line.at_bound) == ("+10.0 points", "at most +1.0 points")
    assert [(one.name, one.share) for one in shown.bets] == [("For it", 0.0), ("Against it", 1.0)]


def test_bets_that_nobody_made_are_not_shown_once_all_is_over() -> None:
    nothing = {**FIGURES, "fail_wealth": 1.0, "pass_wealth": 1.0}
    bets = {
        over: [len(tile(Finding("errors", Outcome.NONE, "", it), over=over).bets)
               for it in (FIGURES, nothing)]
        for over in (False, True)
    }  # fmt: skip
    assert bets == {False: [2, 2], True: [2, 0]}


@pytest.mark.parametrize(
    ("finding", "title", "word", "at"),
    [
        (Finding("latency p95", Outcome.PASS, "", FIGURES), "Latency p95", "passes", "12.0 %"),
        (Finding("pairs unsupported_names", Outcome.INCONCLUSIVE, "",
                 {"candidate": 0.1, "stable": 0.1, "n": 50.0, "margin": 0.02}),
         "Pairs: unsupported names", "not decided", "+0.0 points"),
        (Finding("errors", Outcome.INCONCLUSIVE, "",
                 {"a": 0.5, "a_n": 90.0, "b": 0.1, "b_n": 90.0, "p": 0.001, "level": 0.02}),
         "Errors", "they differ", "-40.0 points"),
        (Finding("text", Outcome.FAIL, "", {
            "empty<=+0.10:estimate": 0.3, "empty<=+0.10:low": 0.2, "empty<=+0.10:high": 0.4,
            "empty<=+0.10:level": 0.99, "n": 30.0, "alpha": 0.02,
        }), "Texts", "fails", "0.3"),
        (Finding("errors", Outcome.NONE, "errors: no answer yet"), "Errors", "no answer yet", None),
    ],
    ids=lambda one: one.metric if isinstance(one, Finding) else "",
)  # fmt: skip
def test_each_test_of_a_gate_has_a_tile(
    finding: Finding, title: str, word: str, at: str | None
) -> None:
    shown = tile(finding)
    assert (shown.title, shown.word) == (title, word)
    assert [one.at for one in shown.gauges] == ([] if at is None else [at])


TEXTS = {"empty<=+0.10:estimate": 0.3, "empty<=+0.10:low": 0.2, "empty<=+0.10:high": 0.4,
         "n": 30.0, "alpha": 0.02}  # fmt: skip
PAIRS = {"candidate": 0.5, "stable": 0.5, "n": 100.0, "margin": 0.02}


@pytest.mark.parametrize(
    ("metric", "figures", "interval", "goes_by"),
    [
        ("text", {**TEXTS, "empty<=+0.10:level": 0.9}, "90 % interval", "by this interval"),
        ("text", {**TEXTS, "empty<=+0.10:level": 0.995}, "99.5 % interval", "by this interval"),
        ("text", TEXTS, "", ""),  # of before: nobody knows of which level
        ("errors", FIGURES, "95 % interval", "by its bets"),
        ("errors", {"a": 0.5, "a_n": 90.0, "b": 0.1, "b_n": 90.0, "p": 0.1, "level": 0.02},
         "95 % interval", "Whether they differ goes by bets"),
        ("pairs empty", {**PAIRS, "above": 0.0, "below": 0.0}, "95 % interval", ""),
        ("pairs empty", PAIRS, "", ""),  # of before: nobody knows what they have in common
    ],
)  # fmt: skip
def test_an_interval_is_drawn_as_the_one_that_it_is(
    metric: str, figures: dict[str, float], interval: str, goes_by: str
) -> None:
    shown = tile(Finding(metric, Outcome.INCONCLUSIVE, "", figures))
    (line,) = shown.gauges
    assert (line.interval, line.low is not None) == (interval, bool(interval))
    assert interval in line.words and goes_by in shown.goes_by


def test_pairs_that_agree_are_surer_than_two_samples_would_be() -> None:
    sums = Sums()
    for number in range(100):
        sums.add(number % 2, number % 2)
    found = tile(Finding("pairs empty", Outcome.INCONCLUSIVE, "", {**PAIRS, **sums.figures}))
    (line,) = found.gauges
    assert re.search(r"interval -3\.\d points to \+3\.\d points", line.words)
    assert Sums(50.0, 50.0, 100).figures == {}  # kept before what they have in common was


def test_what_nobody_judged_is_not_green_and_the_bars_are_not_said_again() -> None:
    figures = {**FIGURES, "pass_wealth": 49_300.0}
    said = "errors: 0.0 % of 9, not decided: {} 1.8 of 2.1 to pass, 0.8 of 50 to fail; 2 subjects"
    for word in ("evidence", "wealth"):
        shown = tile(Finding("errors", Outcome.PASS, said.format(word), figures))
        assert shown.reason == "0.0 % of 9, not decided; 2 subjects"
    assert [one.wealth for one in shown.bets] == [">100", "60"]
    unjudged = tile(Finding("latency p95", Outcome.PASS, "", {**figures, "unjudged": 1.0}))
    assert (unjudged.word, unjudged.look) == ("not judged", "")


def test_a_difference_of_samples_is_newcombes() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, table II, (a), method 10: 56/70 less 48/80.
    found = difference_of_samples((56 / 70, 70), (48 / 80, 80))
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


@pytest.mark.parametrize(
    ("form", "seconds"),
    [({"kind": "slow", "share": "20"}, 2.0), ({"kind": "errors", "share": "20"}, 0.0)],
)
def test_a_drill_has_seconds_where_they_mean_something(
    form: dict[str, str], seconds: float
) -> None:
    found = drill_of({**form, "seconds": "2"})
    assert (found.kind, found.seconds, found.percent) == (
        Misbehaving(form["kind"]), seconds, 20.0
    )  # fmt: skip


@pytest.mark.parametrize(
    "form",
    [{"kind": "melt", "share": "20"}, {"kind": "errors", "share": "0"}, {"kind": "errors"},
     {"kind": "errors", "share": "nan"}, {"kind": "slow", "share": "5", "seconds": "-1"}],
)  # fmt: skip
def test_what_is_no_drill_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        drill_of(form)


# --- planning one -------------------------------------------------------------------------------


@pytest.fixture
def office(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Office:
    """A lab with ``base``, ``next`` and ``third``, whose gateway is played."""
    one = Office(lab, config())
    at_desk: Callable[..., Any] = lambda *_, **__: one.desk  # noqa: E731
    for module in (rollout_planned, rollout_changes):
        monkeypatch.setattr(module, "known_of", lambda _: one.known)
        monkeypatch.setattr(module, "desk_of", at_desk)
    return one


def test_a_plan_tells_what_it_takes_before_there_is_a_button(office: Office) -> None:
    plan = client(office.lab).get("/console/rollout/start")
    assert plan.status_code == 200
    assert 'value="5,25,50,100"' in plan.text  # as lab.toml has them
    assert "Step 1 (5 %) takes at least so many answers of the candidate: " in plan.text
    assert ">blue-green</a>" in plan.text and ">A/B</a>" in plan.text
    assert ">Start</button>" not in plan.text
    named = client(office.lab).get("/console/rollout/start?model=next&steps=10,100")
    assert "Step 1 (10 %) takes" in named.text
    assert ">Start</button>" in named.text
    wrong = client(office.lab).get("/console/rollout/start", params={"model": SCRIPT})
    assert ">Start</button>" not in wrong.text and SCRIPT not in wrong.text
    for text in (plan.text, named.text):
        assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", text)


def test_all_that_is_wrong_in_a_plan_is_told_at_once_beside_its_field(office: Office) -> None:
    asked = {"model": "nosuch", "steps": "50,5", "pairs": "2", "text_gate": "nonsense<=1"}
    text = client(office.lab).get("/console/rollout/start", params=asked).text
    for name in ("model", "steps", "pairs", "text_gate"):
        (field,) = re.findall(rf'<input id="plan-{name}"[^>]*>', text)
        assert 'aria-invalid="true"' in field and f'aria-describedby="wrong-{name} ' in field
        assert f'id="wrong-{name}"' in text
    assert text.count('aria-invalid="true"') == 4
    assert "What to do: Steps: 5,25,50,100" in text and "--steps" not in text
    assert (
        "</span> &#39;nosuch&#39; is no deployment" in text
        and "</span> 2 is not from 0 to 1." in text
    )
    fine = client(office.lab).get("/console/rollout/start?model=next").text
    assert "aria-invalid" not in fine


@pytest.mark.parametrize(
    ("fix", "told"),
    [("--steps 50,100", "Steps: 50,100"), ("pairs 0", "Share of pairs: 0"),
     ("llmlab up", "llmlab up"),
     ("a later deadline (--progress-deadline), or fewer", "a later deadline, or fewer")],
)  # fmt: skip
def test_what_to_do_in_a_form_is_told_by_its_labels(fix: str, told: str) -> None:
    labels = {"steps": "Steps", "pairs": "Share of pairs"}
    assert rollout_planned.fix_in_form(fix, labels) == told


def test_a_plans_document_is_lints(office: Office) -> None:
    told = client(office.lab).get("/console/rollout/start.json?model=next&interval=5s").json()
    wish = rollout_planned.wish_of(
        {"model": "next", "interval": "5s"}, office.known, Visitor("alice", Role.OPERATOR)
    )
    assert wish.rules == {"interval": 5.0}
    found = lint(wish, office.lab, office.known.catalogue, lambda: office.known)
    assert [one["message"] for one in told] == [one.message for one in found]


@pytest.mark.parametrize(
    "form",
    [{"steps": "50,5"}, {"interval": "soon"}, {"min_samples": "0"}, {"pairs": "2"},
     {"pairs": "nan"}, {"probe_rate": "much"}, {"text_gate": "nonsense<=1"}],
)  # fmt: skip
def test_a_field_that_says_what_it_cannot_keeps_it_from_starting(
    office: Office, form: dict[str, str]
) -> None:
    plan = client(office.lab).get("/console/rollout/start", params={"model": "next", **form})
    assert plan.status_code == 200
    assert ">Start</button>" not in plan.text
    begun = client(office.lab).post(
        "/console/rollout/start", data={"model": "next", "why": "x", **form}, headers=SAME
    )
    assert begun.status_code == 400
    assert Rollouts(office.lab).history() == []


def test_what_was_planned_begins_as_it_was_planned(office: Office) -> None:
    form = {"kind": "ab", "model": "next", "b": "third", "percent": "30", "why": "for the class"}
    done = client(office.lab).post("/console/rollout/start", data=form, headers=SAME)
    assert (done.status_code, done.headers["location"]) == (303, "/console/rollout?number=1")
    one = Rollouts(office.lab).get(1).rollout
    assert (one.kind, one.target, one.percent) == (Kind.AB, "next or third", 30.0)
    assert (one.who, one.why) == ("alice", "for the class")


def test_an_undo_is_offered_where_something_was_promoted(office: Office) -> None:
    office.promoted("next")
    assert rollout_changes.undoes(office.lab, "summarize") == "base"
    done = client(office.lab).post(
        "/console/rollout/undo", data={"route": "summarize", "why": "a doubt"}, headers=SAME
    )
    assert done.status_code == 303
    one = Rollouts(office.lab).last()
    assert one and (one.rollout.kind, one.rollout.who) == (Kind.UNDO, "alice")
    assert rollout_changes.undoes(office.lab, "summarize") == ""
