"""A person's verbs: what they change, what they refuse, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llmlab.cli.deliver.rollout_view import tree
from llmlab.config import Config
from llmlab.config.schema import TEXTRANK, Routes
from llmlab.engines.base import Plan
from llmlab.errors import LlmlabError, UpstreamError, UsageError
from llmlab.lab import Lab, init_lab
from llmlab.ledger import chain
from llmlab.ledger.store import Store
from llmlab.registry import Facts, Registry
from llmlab.registry.catalogue import Catalogue
from llmlab.rollout.linting import lint
from llmlab.rollout.machine import Abort, Pause, Promote, Resume, Settled, Verb, step
from llmlab.rollout.planning import PROBES, Known, Wish, rules_of
from llmlab.rollout.power import Usual
from llmlab.rollout.settling import settle
from llmlab.rollout.state import (
    Finding,
    Kind,
    Outcome,
    Paused,
    Phase,
    Rollout,
    Rules,
    Verdict,
    Version,
)
from llmlab.rollout.steps import parse_seconds, parse_steps
from llmlab.rollout.store import Rollouts
from llmlab.rollout.verbs import Desk
from llmlab.rollout.view import Seat, View
from llmlab.service.settings import Settings
from tests.conftest import wait_until
from tests.rollouts import Played, at
from tests.summarizing import route_of
from tests.test_registry import make_folder

QUIET: Callable[[str], None] = lambda text: None  # noqa: E731


def config(**rollout: Any) -> Config:
    section = {"text_gate": "", **rollout}
    return Config.model_validate({
        "routes": {"summarize": "base", "chat": ""}, "fallback": "", "rollout": section,
        "models": {name: TEXTRANK.model_dump() for name in ("base", "next", "third")},
    })  # fmt: skip


@dataclass
class Office:
    """A desk in a lab that is played. ``controlled``: there is a supervisor."""

    lab: Lab
    config: Config
    controlled: bool = True
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rollouts = Rollouts(self.lab)
        self.gateway = Played(self.rollouts)
        self.started = 0
        self.now = 5000.0
        self.desk = self.at_desk(patience=0)

    def at_desk(self, patience: float = 0, route: str = "") -> Desk:
        return Desk(
            self.rollouts, self.gateway, self._start, self.said.append, lambda: self.now, patience,
            route,
        )  # fmt: skip

    def _start(self) -> bool:
        self.started += self.controlled
        return self.controlled

    @property
    def known(self) -> Known:
        names = dict.fromkeys(self.config.served.values())
        plan = Plan(
            self.config, self.config.stable,
            tuple(Settings(deployment=name, name=name, model=TEXTRANK) for name in names),
            further={route: model for route, model in self.config.served.items()
                     if route != "summarize"},
        )  # fmt: skip
        return Known(plan, Catalogue(self.config, Registry(self.lab)), self.lab.root)

    def start(self, *models: str, kind: Kind = Kind.CANARY, **values: Any) -> Rollout:
        return self.desk.start(Wish(kind, models, who="ada", **values), self.known)

    def undo(self, to: int | None = None) -> Rollout:
        return self.desk.undo(self.known, to=to, who="ada", why="")

    def settle(self) -> Rollout:
        """What the controller does next, apart from judging."""
        kept = self.rollouts.unfinished()
        assert kept
        return settle(self.rollouts, self.gateway, kept.rollout, lambda: self.now, QUIET)

    def promoted(self, model: str) -> Rollout:
        """A rollout that went all the way."""
        self.start(model)
        self.settle()
        self.desk.do("promote", Promote(full=True), who="ada")
        return self.settle()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    init_lab(tmp_path)
    return Office(Lab(tmp_path), config())


# --- what is rolled out ----------------------------------------------------------------------


def test_a_model_of_lab_toml_is_deployed_under_its_name(office: Office) -> None:
    one = office.start("next")
    assert (one.stable, one.arms) == (Version("base", "base"), (Version("next", "next"),))
    assert one.started == ("next",) and office.started == 1
    assert office.gateway.done == [], "the controller starts it"


@pytest.mark.parametrize("named", ["tuned", "tuned:2", "candidate", "tuned-2"])
def test_a_registered_model_is_pinned_to_the_version_that_the_name_means_now(
    office: Office, tmp_path: Path, named: str
) -> None:
    registry = Registry(office.lab)
    for number in (1, 2):
        folder = make_folder(tmp_path / f"m{number}", str(number).encode())
        registry.add(folder, "tuned", Facts("path"))
    registry.tag("tuned:2", "candidate", "")
    assert office.start(named).arms == (Version("tuned-2", "tuned:2"),)


def test_what_runs_already_is_neither_started_nor_ended_by_the_rollout(office: Office) -> None:
    office.promoted("next")
    one = office.start("base")
    assert one.started == () and one.stable == Version("next", "next")
    office.settle()
    office.desk.do("abort", Abort(), who="ada")
    office.settle()
    assert [kept.name for kept in office.rollouts.traffic().deployments] == ["next"]


def test_rolling_out_what_is_stable_is_refused(office: Office) -> None:
    with pytest.raises(UsageError, match="base has all the traffic already"):
        office.start("base")
    with pytest.raises(UsageError, match="itself"):
        office.start("next", "next", kind=Kind.AB)
    assert office.rollouts.history() == []


def test_a_model_that_nobody_knows_is_refused(office: Office) -> None:
    with pytest.raises(
        UsageError, match="'nextt' is no deployment of this lab, and no model"
    ) as no:
        office.start("nextt")
    assert no.value.fix and no.value.fix.startswith("llmlab deploy MODEL --name nextt")
    with pytest.raises(UsageError, match=r"^no model 'tuned:2' is registered"):
        office.start("tuned:2")


def test_without_a_running_lab_nothing_begins(office: Office) -> None:
    office.gateway.up = False
    with pytest.raises(UpstreamError, match="does not run"):
        office.start("next")
    assert office.rollouts.history() == []


def test_a_gate_or_a_suite_that_cannot_be_read_is_refused_before_anything_begins(
    office: Office,
) -> None:
    for rules in ({"text_gate": "coverag>=0"}, {"probe_suite": "nowhere", "probe_rate": 1.0}):
        with pytest.raises(UsageError):
            office.start("next", rules=rules)
    assert office.rollouts.history() == []


# --- rules -----------------------------------------------------------------------------------


def test_the_command_line_beats_lab_toml() -> None:
    wish = Wish(Kind.CANARY, ("next",), rules={"interval": 5.0, "steps": (10.0, 100.0)})
    rules = rules_of(config(interval=7.0, alpha=0.01), wish)
    assert (rules.interval, rules.steps, rules.alpha) == (5.0, (10.0, 100.0), 0.01)


def test_the_rules_of_lab_toml_are_those_of_a_rollout() -> None:
    assert rules_of(Config(), Wish(Kind.CANARY, ())) == replace(
        Rules(), text_gate=Config().rollout.text_gate, pairs_gate=Config().rollout.pairs_gate
    )


def test_a_route_that_is_no_summaries_is_judged_by_questions() -> None:
    rules = rules_of(config(probe_suite="news"), Wish(Kind.CANARY, (), route="support"))
    assert (rules.probe_suite, rules.text_gate) == ("chat", Config().rollout.chat_gate)
    named = Wish(Kind.CANARY, (), route="chat", rules={"text_gate": "", "probe_suite": "founding"})
    assert rules_of(config(), named).probe_suite == "founding"
    assert rules_of(config(), named).text_gate == ""
    own = rules_of(config(chat_suite="mine"), Wish(Kind.CANARY, (), route="chat"))
    assert own.probe_suite == "mine"


def test_where_there_is_no_traffic_or_a_suite_is_named_there_are_probes() -> None:
    assert rules_of(config(), Wish(Kind.CANARY, ())).probe_rate == 0
    assert rules_of(config(), Wish(Kind.BLUEGREEN, ())).probe_rate == PROBES
    named = Wish(Kind.CANARY, (), rules={"probe_suite": "founding"})
    assert rules_of(config(), named).probe_rate == PROBES


def test_a_step_that_would_not_end_is_refused() -> None:
    with pytest.raises(UsageError, match="does not end before its deadline"):
        rules_of(config(), Wish(Kind.CANARY, (), rules={"interval": 2000.0}))


@pytest.mark.parametrize(
    ("text", "steps"), [("5,25,100", (5, 25, 100)), ("100", (100,)), ("12.5 %, 100%", (12.5, 100))]
)
def test_steps_as_they_are_written(text: str, steps: tuple[float, ...]) -> None:
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["", "5,25", "25,5,100", "0,100", "5,5,100", "a,100", "50,110"])
def test_steps_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="rise"):
        parse_steps(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("0", 0)]
)
def test_times_as_they_are_written(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 d", "-1s", "1e3"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        parse_seconds(text)


# --- verbs in every phase ------------------------------------------------------------------------

VERBS = {
    "promote": Promote(), "promote --full": Promote(full=True), "pause": Pause(),
    "resume": Resume(), "abort": Abort(),
}  # fmt: skip
# The phase after the verb, or `!` for a refusal. `undo` of what is under way is an abort.
TABLE = """
               | starting progressing paused      completing completed  aborting aborted
promote        | !        progressing progressing !          !          !        !
promote --full | !        completing  completing  !          !          !        !
pause          | !        paused      !           !          !          !        !
resume         | !        !           progressing !          !          !        !
abort          | aborting aborting    aborting    aborting   !          aborting !
undo           | aborting aborting    aborting    aborting   completing aborting !
start          | !        !           !           !          starting   !        starting
"""
ROWS = {
    name.strip(): cells.split()
    for name, cells in (row.split("|") for row in TABLE.strip("\n").splitlines())
}
PHASES = ROWS.pop("")


def bring(office: Office, phase: str) -> None:
    """A canary in this phase."""
    office.start("next")
    if phase == "starting":
        return
    if phase in ("aborting", "aborted"):
        office.desk.do("abort", Abort(), who="ada")
    else:
        office.settle()
    if phase == "paused":
        office.desk.do("pause", Pause(), who="ada")
    if phase in ("completing", "completed"):
        office.desk.do("promote", Promote(full=True), who="ada")
    if phase in ("completed", "aborted"):
        office.settle()


def test_who_promotes_right_after_the_start_waits_until_the_candidate_answers(
    office: Office,
) -> None:
    office.start("next")
    with ThreadPoolExecutor() as pool:
        desk = office.at_desk(patience=30)
        promoting = pool.submit(desk.do, "promote", Promote(full=True), who="ada")
        wait_until(lambda: office.said == ["waiting: next does not answer yet"])
        office.settle()
        assert promoting.result(30).phase is Phase.COMPLETING
    assert len(office.said) == 1


@pytest.mark.parametrize(
    ("verb", "event"),
    [("promote", Promote(why="Ada has read the texts")), ("pause", Pause("Ada has read the texts")),
     ("abort", Abort("Ada has read the texts"))],
)  # fmt: skip
def test_a_persons_reason_is_in_the_ledger(office: Office, verb: str, event: Verb) -> None:
    bring(office, "progressing")
    office.desk.do(verb, event, who="ada")
    told = Store(office.lab).entries(kind=chain.Kind.ROLLOUT, last=1)[0]
    assert (told.who, told.why) == ("ada", "Ada has read the texts")


def test_what_makes_no_sense_once_it_answers_either_is_not_waited_for(office: Office) -> None:
    office.start("next")
    with pytest.raises(UsageError, match="tries next, not other"):
        office.at_desk(patience=30).do("promote", Promote(arm="other"), who="ada")
    assert office.said == []


@pytest.mark.parametrize("verb", ROWS)
@pytest.mark.parametrize("phase", PHASES)
def test_what_each_verb_does_in_each_phase(office: Office, verb: str, phase: str) -> None:
    bring(office, phase)
    before = office.rollouts.last(), office.rollouts.traffic()
    assert before[0] and before[0].rollout.phase == phase

    def do() -> Rollout:
        if verb == "undo":
            return office.undo()
        if verb == "start":
            return office.start("third")
        return office.desk.do(verb, VERBS[verb], who="ada")

    expected = ROWS[verb][PHASES.index(phase)]
    if expected == "!":
        with pytest.raises(UsageError):
            do()
        assert (office.rollouts.last(), office.rollouts.traffic()) == before
    else:
        assert do().phase == expected


def test_a_verb_without_any_rollout_says_how_to_begin_one(office: Office) -> None:
    for verb in VERBS.values():
        with pytest.raises(UsageError, match="no rollout yet"):
            office.desk.do("verb", verb, who="ada")
    with pytest.raises(UsageError, match="nothing was promoted"):
        office.undo()


# --- the gateway follows, with a controller or without ---------------------------------------


def test_an_abort_moves_the_gateway_before_the_verb_returns(office: Office) -> None:
    bring(office, "progressing")
    office.gateway.done.clear()
    office.desk.do("abort", Abort("too slow"), who="ada")
    assert office.gateway.done == ["route"]
    assert office.gateway.revision == office.rollouts.traffic().revision


def test_without_a_supervisor_the_verbs_do_all_of_it_themselves(office: Office) -> None:
    office.controlled = False
    assert office.start("next").phase is Phase.PROGRESSING
    assert office.desk.do("promote", Promote(full=True), who="ada").phase is Phase.COMPLETED
    assert route_of(office.rollouts.traffic()).stable == "next"
    assert office.undo().phase is Phase.COMPLETED
    assert route_of(office.rollouts.traffic()).stable == ""
    assert office.gateway.revision == office.rollouts.traffic().revision


def test_while_the_lab_is_down_an_abort_is_still_written_down(office: Office) -> None:
    bring(office, "progressing")
    office.gateway.up = False
    assert office.desk.do("abort", Abort(), who="ada").phase is Phase.ABORTING
    assert route_of(office.rollouts.traffic()).weights("base") == {"base": 100}


# --- undo ---------------------------------------------------------------------------------


def test_undo_gives_all_traffic_back_at_once_and_keeps_what_had_it(office: Office) -> None:
    office.promoted("next")
    office.gateway.done.clear()
    one = office.undo()
    assert (one.phase, office.gateway.done) == (Phase.COMPLETING, ["route"])
    wanted = office.rollouts.traffic()
    assert route_of(wanted).stable == "" and [kept.name for kept in wanted.deployments] == ["next"]


def test_undo_of_an_undo_gives_it_forth_again(office: Office) -> None:
    office.promoted("next")
    office.undo()
    office.settle()
    office.undo()
    office.settle()
    assert route_of(office.rollouts.traffic()).stable == "next"


def test_undo_starts_again_what_was_ended_meanwhile(office: Office) -> None:
    office.promoted("next")
    office.promoted("third")
    assert {one.name for one in office.rollouts.traffic().deployments} == {"next", "third"}
    office.rollouts._store.change(
        "deployment", {}, lambda traffic: replace(traffic, deployments=traffic.deployments[1:])
    )
    one = office.undo()
    assert one.phase is Phase.STARTING and one.started == ("next",)
    office.settle()
    assert route_of(office.rollouts.traffic()).stable == "next"


def test_a_second_promotion_ends_what_the_first_had_kept_but_never_lab_tomls_own(
    office: Office,
) -> None:
    office.promoted("next")
    office.promoted("third")
    office.promoted("base")
    assert route_of(office.rollouts.traffic()).stable == ""
    assert [one.name for one in office.rollouts.traffic().deployments] == ["third"]


def test_undo_to_a_rollout_brings_back_what_that_one_had_promoted(office: Office) -> None:
    office.promoted("next")
    office.promoted("third")
    office.undo(to=1)
    office.settle()
    assert route_of(office.rollouts.traffic()).stable == "next"
    office.undo(to=0)
    office.settle()
    assert route_of(office.rollouts.traffic()).stable == ""
    for number, said in ((9, "no rollout 9"), (0, "base has all the traffic already")):
        with pytest.raises(UsageError, match=said):
            office.undo(to=number)


def test_undo_to_an_aborted_rollout_is_refused(office: Office) -> None:
    bring(office, "aborted")
    with pytest.raises(UsageError, match="rollout 1 has promoted nothing"):
        office.undo(to=1)


# --- lint ----------------------------------------------------------------------------------------


def linted(
    office: Office,
    wish: Wish,
    known: Callable[[], Known] | None = None,
    *,
    notes: bool = False,
    usual: Usual | None = None,
) -> list[str]:
    catalogue = Catalogue(office.config, Registry(office.lab))
    found = lint(
        wish, office.lab, catalogue, known or (lambda: office.known), lambda _: usual or Usual()
    )
    kept = [one for one in found if notes or one.severity != "note"]
    return [f"{one.severity}: {one.message}" for one in kept]


def test_lint_of_a_sound_plan_finds_that_no_text_is_judged(office: Office) -> None:
    assert linted(office, Wish(Kind.CANARY, ("next",))) == [
        "warning: rollout.text_gate is empty: no step looks at what the candidate writes"
    ]


def test_lint_finds_all_that_is_wrong_and_starts_nothing(office: Office) -> None:
    rules = {"text_gate": "covrage>=0", "probe_suite": "nowhere", "steps": (50.0, 100.0)}
    found = linted(office, Wish(Kind.CANARY, ("base",), rules=rules))
    assert [one.partition(":")[0] for one in found] == ["error", "error", "warning", "warning",
                                                        "error"]  # fmt: skip
    assert "did you mean 'coverage'" in found[0] and "has all the traffic" in found[-1]
    assert office.rollouts.history() == []


def test_lint_tells_what_each_step_takes_and_which_one_is_not_decided_in_time(
    office: Office,
) -> None:
    wish = Wish(Kind.CANARY, (), rules={"steps": (5.0, 100.0)})
    slow = Usual(2.0, 0.01, tuple(0.2 for _ in range(100)))
    notes = linted(office, wish, notes=True, usual=slow)
    assert notes[-4].startswith(
        "note: step 1 (5 %) takes at least so many answers of the candidate: 862 (2 h) for errors, "
    )
    assert notes[-3] == (
        "warning: step 1 (5 %) is not decided by its deadline: it takes 862 (2 h) for errors, "
        "and it has 30 min"
    )
    assert notes[-2].startswith("note: step 2 (95 %, 5 % held back) takes at least so many ")
    quick = linted(office, wish, usual=Usual(100.0, 0.001, (0.2,) * 100))
    assert not [one for one in quick if "deadline" in one]


def test_lint_tells_how_many_pairs_show_what_and_how_soon_there_are_so_many(office: Office) -> None:
    rules = {"steps": (5.0, 100.0), "pairs": 0.1, "pairs_gate": "empty<=+0.02"}
    wish = Wish(Kind.CANARY, (), rules=rules)
    count, first, last = linted(office, wish, notes=True, usual=Usual(2.0))[-3:]
    assert count.startswith("note: pairs until 10 points more than allowed are seen: empty 1")
    assert first == (
        "note: step 1 (5 %) has up to 0.19 pairs a second, of each caller one in 2 s: 10 points "
        "more are seen within 10 min"
    )
    assert "0.01 pairs a second" in last and "3 h" in last
    asked = replace(wish, rules=rules | {"pairs_required": True})
    (late,) = [one for one in linted(office, asked, usual=Usual(9.0)) if "pairs empty" in one]
    assert late.startswith("warning: step 2 (95 %) is not decided by its deadline")
    assert "pairs" not in str(linted(office, Wish(Kind.CANARY, ()), notes=True))


def test_without_any_traffic_lint_names_answers_and_no_time(office: Office) -> None:
    (note,) = linted(office, Wish(Kind.CANARY, (), rules={"steps": (100.0,)}), notes=True)[-1:]
    assert note.startswith("note: step 1 (95 %, 5 % held back)") and note.count("(") == 1


def test_lint_works_without_a_running_lab(office: Office) -> None:
    def down() -> Known:
        raise UpstreamError("the lab does not run", fix="llmlab up")

    found = linted(office, Wish(Kind.CANARY, ("nowhere",)), down)
    assert "error: the lab does not run" in found
    assert any("no model 'nowhere'" in one for one in found)


def test_lint_counts_the_models(office: Office) -> None:
    assert "error: ab takes 2 models" in linted(office, Wish(Kind.AB, ("next",)))
    assert any("split by" in one for one in linted(office, Wish(Kind.AB, ("a", "b"), by="moon")))


# --- what is shown ------------------------------------------------------------------------


def shown(view: View) -> str:
    console = Console(width=110, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(tree(view), highlight=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


SEATS = (
    Seat("base", "base", "stable", 75, 75, True, "running"),
    Seat("tuned-2", "tuned:2", "candidate", 25, 5, True, "running"),
)
VERDICT = Verdict(
    Outcome.INCONCLUSIVE, "…",
    (
        Finding("errors", Outcome.PASS, "errors: 0.0 % of 60 against 0.0 % of 180, less than "
                "5 points above: wealth 6.1 > 4.5"),
        Finding("latency", Outcome.INCONCLUSIVE, "latency: 5.0 % of 60 slower than 0.45 s against "
                "2.2 % of 180, not decided: wealth 2.0 of 4.5 to pass, 0.3 of 80 to fail"),
        Finding("text", Outcome.FAIL, "text: [odd] markup stays as it is"),
    ),
    samples=60,
)  # fmt: skip


def test_a_rollout_under_way_as_it_is_shown() -> None:
    one = at(Phase.PROGRESSING, verdict=VERDICT, why="a better one", since=1000.0)
    assert shown(View(one, SEATS, True, 1042.0)) == (
        "rollout 1: canary of tuned-2 on summarize, progressing for 42 s, "
        "the next step begins in 18 s if the gate\npasses\n"
        "├── ada: a better one\n"
        "├── steps 5 % → [25 %] → 50 % → 95 % → watched for 10 min\n"
        "├── ● base stable 75 % running\n"
        "├── ● tuned-2 candidate 25 % (the gateway still has 5 %) tuned:2, running\n"
        "└── gate inconclusive 60 answers of the candidate in this step\n"
        "    ├── ✓ errors: 0.0 % of 60 against 0.0 % of 180, less than 5 points above: "
        "wealth 6.1 > 4.5\n"
        "    ├── … latency: 5.0 % of 60 slower than 0.45 s against 2.2 % of 180, not decided: "
        "wealth 2.0 of 4.5 to\n"
        "    │   pass, 0.3 of 80 to fail\n"
        "    └── ✗ text: [odd] markup stays as it is"
    )


def test_a_paused_rollout_says_why_and_how_to_go_on() -> None:
    one = at(Phase.PAUSED, paused=Paused.NO_TRAFFIC, since=1000.0)
    assert shown(View(one, (), False, 1060.0)) == (
        "rollout 1: canary of tuned-2 on summarize, paused for 1 min\n"
        "├── ! the lab does not run; llmlab up starts it\n"
        "├── ! no traffic reached the candidate: llmlab rollout promote, resume or abort\n"
        "└── steps 5 % → [25 %] → 50 % → 95 % → watched for 10 min"
    )


def test_a_rollout_that_is_over_says_how_it_ended() -> None:
    one = step(at(Phase.ABORTING, ending="errors: too many"), Settled(), 1090.0)
    assert shown(View(one, (), True, 9999.0)) == (
        "rollout 1: canary of tuned-2 on summarize, aborted after 1 min\n"
        "├── errors: too many\n"
        "└── steps 5 % → [25 %] → 50 % → 95 % → watched for 10 min"
    )


def test_the_json_of_a_view_has_weights_wanted_and_taken_and_when_the_next_step_is() -> None:
    found = View(at(Phase.PROGRESSING, since=1000.0), SEATS, True, 1042.0).as_json()
    assert found["next_in"] == 18 and found["phase"] == "progressing"
    assert [(one["requested"], one["actual"]) for one in found["deployments"]] == [
        (75, 75), (25, 5),
    ]  # fmt: skip


def test_errors_of_the_lab_itself_do_not_change_what_was_decided(office: Office) -> None:
    bring(office, "progressing")
    office.gateway.unroutable = "nginx -t says no"
    with pytest.raises(LlmlabError, match="nginx -t"):
        office.desk.do("abort", Abort(), who="ada")
    kept = office.rollouts.last()
    assert kept and kept.rollout.phase is Phase.ABORTING


# --- several routes ----------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Office:
    """A lab with a route support beside summarize, which third answers."""
    init_lab(tmp_path)
    routes = {"summarize": "base", "chat": "", "support": "third"}
    return Office(Lab(tmp_path), config().model_copy(
        update={"routes": Routes.model_validate(routes)}
    ))  # fmt: skip


def settle_on(office: Office, route: str) -> Rollout:
    kept = office.rollouts.unfinished(route)
    assert kept
    return settle(office.rollouts, office.gateway, kept.rollout, lambda: office.now, QUIET)


def test_a_rollout_on_a_route_is_held_against_what_answers_there(house: Office) -> None:
    one = house.start("next", route="support")
    assert (one.route, one.stable, one.configured) == (
        "support", Version("third", "third"), "third",
    )  # fmt: skip
    with pytest.raises(UsageError, match="third has all the traffic already"):
        house.start("third", route="support")
    assert house.start("third").stable == Version("base", "base"), "on summarize it has none"


def test_a_route_that_is_none_is_refused(house: Office) -> None:
    with pytest.raises(UsageError, match="this lab has no route 'suport'; routes: ") as refused:
        house.start("next", route="suport")
    assert "did you mean 'support'?" in refused.value.message
    assert refused.value.fix and "[routes] of configs/lab.toml" in refused.value.fix


def test_of_another_route_than_summarize_nothing_is_copied(house: Office) -> None:
    with pytest.raises(UsageError, match="of support nothing can be copied"):
        house.start("next", kind=Kind.SHADOW, percent=20.0, route="support")


def test_verbs_are_about_the_route_that_is_named(house: Office) -> None:
    house.start("next")
    settle_on(house, "summarize")
    house.start("next", route="support")
    settle_on(house, "support")
    for verb in (
        lambda: house.desk.do("pause", Pause(), who="ada"),
        house.undo,
    ):
        with pytest.raises(UsageError, match="under way on summarize and support"):
            verb()
    support = house.at_desk(route="support")
    assert support.do("promote", Promote(), who="ada").step == 2
    support.do("abort", Abort(), who="ada")
    assert settle_on(house, "support").phase is Phase.ABORTED
    kept = house.rollouts.unfinished()
    assert kept and (kept.rollout.route, kept.rollout.step) == ("summarize", 1)
    traffic = house.rollouts.traffic()
    assert traffic.route("summarize").weights("base") == {"next": 5, "base": 95}
    assert traffic.route("support").weights("third") == {"third": 100}
    assert [one.name for one in traffic.deployments] == ["next"], "summarize needs it still"


def test_undo_gives_back_the_traffic_of_its_route_alone(house: Office) -> None:
    for route in ("summarize", "support"):
        house.start("next", route=route)
        settle_on(house, route)
        house.at_desk(route=route).do("promote", Promote(full=True), who="ada")
        settle_on(house, route)
    assert [house.rollouts.traffic().route(one).stable for one in ("summarize", "support")] == [
        "next", "next",
    ]  # fmt: skip
    house.at_desk(route="support").undo(house.known, to=None, who="ada", why="")
    settle_on(house, "support")
    traffic = house.rollouts.traffic()
    assert traffic.route("summarize").stable == "next"
    assert traffic.route("support").weights("third") == {"third": 100}
    with pytest.raises(UsageError, match="third has all the traffic already"):
        house.at_desk(route="support").undo(house.known, to=0, who="ada", why="")
    with pytest.raises(UsageError, match="there is no rollout 1 of support"):
        house.at_desk(route="support").undo(house.known, to=1, who="ada", why="")
    house.undo()  # without a route: of summarize
    settle_on(house, "summarize")
    assert house.rollouts.traffic().route("summarize").stable == ""
