"""The controller: with a played gateway and a clock that is moved by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config
from llmlab.config.rollout import Rollout as RolloutSection
from llmlab.errors import UpstreamError
from llmlab.lab import Lab, init_lab
from llmlab.rollout.background import Background
from llmlab.rollout.controller import RETRY, Controller
from llmlab.rollout.evidence import SLICE
from llmlab.rollout.machine import Abort, Pause, Promote, step
from llmlab.rollout.planning import Wish, rules_of
from llmlab.rollout.state import Kind, Outcome, Paused, Phase, Rollout, Rules
from llmlab.rollout.store import Rollouts
from tests.rollouts import Played, line, rollout
from tests.summarizing import route_of

RULES = Rules(
    steps=(10.0, 100.0), interval=10.0, progress_deadline=100.0, probe_suite="founding",
    error_margin=0.05, bake=5.0,
)  # fmt: skip
WHO = count()
GATE = "unsupported<=+0.30 empty<=+0.30"


class AtOnce(Executor):
    """Does the work while it is begun."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class Stage:
    """A controller in a lab that is played."""

    lab: Lab
    executor: Executor = field(default_factory=AtOnce)
    now: float = 5000.0
    said: list[dict[str, Any]] = field(default_factory=list)
    asked_by: dict[str, str] = field(default_factory=dict)  # of a log line, if not summarize

    def __post_init__(self) -> None:
        self.rollouts = Rollouts(self.lab)
        self.gateway = Played(self.rollouts)
        self.restart()

    def restart(self) -> None:
        """As after a kill -9: nothing is left but what is written down."""
        self.controller = Controller(
            self.rollouts, self.gateway, Background(self.gateway, self.executor),
            self.lab.root, lambda: self.now, self.said.append,
        )  # fmt: skip

    def begin(self, kind: Kind = Kind.CANARY, rules: Rules = RULES, **values: Any) -> None:
        self.rollouts.create(
            lambda number, traffic, history: rollout(
                kind, number=number, rules=rules, since=self.now, created=self.now, **values
            )
        )

    @property
    def rollout(self) -> Rollout:
        kept = self.rollouts.last()
        assert kept
        return kept.rollout

    def tick(self, seconds: float = 1.0) -> bool:
        self.now += seconds
        return self.controller.tick()

    def traffic(self, requests: int, *, errors: int = 0) -> None:
        """So many answers of each; of the candidate's the last ones are errors."""
        for number in range(requests):
            status = 500 if number >= requests - errors else 200
            for name, told in (("base", {"rule": "stable"}), ("tuned-2", {"status": status})):
                who = f"subject-{next(WHO)}"
                told |= self.asked_by
                # Of a slice that is over: it is heard of at the next tick.
                self.gateway.lines.append(line(name, subject=who, at=self.now - 2 * SLICE, **told))

    def until(self, *phases: Phase, ticks: int = 300, requests: int = 0) -> Rollout:
        for _ in range(ticks):
            if self.rollout.phase in phases:
                return self.rollout
            self.traffic(requests)
            self.tick()
        raise AssertionError(f"it is still {self.rollout.phase}: {self.rollout.verdict}")

    def do(self, event: Any) -> None:
        self.rollouts.change(
            self.rollout.number, "verb", lambda one: step(one, event, self.now), who="ada"
        )

    def consistent(self) -> None:
        """Ledger, state and gateway say the same."""
        assert self.gateway.revision == self.rollouts.traffic().revision


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    init_lab(tmp_path)
    return Stage(Lab(tmp_path))


def test_it_ends_when_nothing_is_unfinished(stage: Stage) -> None:
    assert stage.tick() is False


def test_what_the_gateway_logged_before_says_what_is_usual(stage: Stage) -> None:
    for number in range(40):
        status = 500 if number % 4 == 0 else 200
        old = line("base", rule="stable", subject="eve", status=status, at=stage.now - 60)
        stage.gateway.lines += [old, line("other", subject="eve", at=stage.now - 60)]
        stage.gateway.lines.append(line("base", subject="bob", at=stage.now - 1e6))
    stage.begin()
    stage.gateway.lines.append(line("base", rule="stable", subject="ada", at=stage.now + 2))
    for _ in range(3):
        stage.tick()
    evidence = stage.rollouts.last().evidence  # type: ignore[union-attr]
    eve = evidence.subjects.known("eve")
    assert eve and (eve.answers, eve.errors) == (40, 10)
    assert "bob" not in evidence.subjects.own, "that was too long ago"
    assert evidence.base.total.requests == 1, "and is no evidence"


@pytest.mark.slow
def test_a_good_candidate_goes_all_the_way(stage: Stage) -> None:
    stage.begin()
    one = stage.until(Phase.COMPLETED, requests=10)
    assert one.promoted == "tuned-2" and route_of(stage.rollouts.traffic()).stable == "tuned-2"
    assert [kept.step for kept in one.judged] == [1, 2, 2], "the last time after the watch"
    stage.consistent()
    assert stage.tick() is False


def test_the_deployments_come_up_before_any_weight_is_moved(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    assert stage.gateway.done == ["apply", "route"]
    assert stage.rollout.phase is Phase.PROGRESSING
    stage.consistent()


def test_a_candidate_that_does_not_come_up_ends_the_rollout(stage: Stage) -> None:
    stage.begin()
    stage.gateway.broken = "it is out of memory"
    stage.tick()
    assert stage.rollout.phase is Phase.ABORTING
    assert stage.rollout.ending == "tuned-2 does not come up: it is out of memory"
    stage.gateway.broken = ""
    stage.tick(RETRY)
    assert stage.rollout.phase is Phase.ABORTED
    assert stage.rollouts.traffic().deployments == ()


def test_a_candidate_that_the_lab_goes_on_without_ends_the_rollout_too(stage: Stage) -> None:
    stage.begin()
    stage.gateway.without = "tuned-2 (tuned:2) cannot be served: it is not on disk"
    stage.tick()
    assert stage.rollout.phase is Phase.ABORTED
    assert "it is not on disk" in stage.rollout.ending
    assert route_of(stage.rollouts.traffic()).weights("base") == {"base": 100}


def test_an_erring_candidate_loses_its_traffic_in_the_same_tick(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.tick()
    stage.traffic(60, errors=30)
    stage.tick()
    one = stage.rollout
    assert one.phase is Phase.ABORTING and one.judged[-1].verdict.outcome is Outcome.FAIL
    assert "errors: 50.0 % of 60 against 0.0 % of 60" in one.ending
    assert route_of(stage.rollouts.traffic()).weights("base") == {"base": 100}
    stage.consistent()
    stage.tick()
    assert stage.rollout.phase is Phase.ABORTED and stage.gateway.done[-1] == "apply"


def test_a_paused_candidate_that_fails_is_aborted_too(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.do(Pause())
    stage.tick()
    stage.traffic(60, errors=60)
    stage.tick()
    assert stage.rollout.phase is Phase.ABORTING


@pytest.mark.slow
def test_no_traffic_pauses_and_never_promotes(stage: Stage) -> None:
    stage.begin()
    one = stage.until(Phase.PAUSED)
    assert one.paused is Paused.NO_TRAFFIC and one.step == 1
    assert stage.now - 5000 >= RULES.progress_deadline


def test_a_verb_is_seen_at_the_next_tick(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.do(Promote())
    stage.tick()
    assert route_of(stage.rollouts.traffic()).weights("base")["tuned-2"] == 95
    stage.consistent()
    stage.do(Abort())
    stage.tick()
    assert stage.rollout.phase is Phase.ABORTED
    stage.consistent()


def test_a_verdict_on_one_step_does_not_pass_the_next_one(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.tick()
    stage.traffic(100)
    real = stage.gateway.requests_since

    def meanwhile(cursor: str) -> tuple[list[str], str]:
        stage.do(Promote())  # while the controller reads the log
        stage.gateway.requests_since = real  # type: ignore[method-assign]
        return real(cursor)

    stage.gateway.requests_since = meanwhile  # type: ignore[method-assign]
    stage.tick(20)
    assert stage.rollout.step == 2 and stage.rollout.phase is Phase.PROGRESSING


def test_what_the_log_holds_is_counted_once_also_after_a_kill(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.tick()
    for _ in range(5):
        stage.traffic(3)
        stage.restart()
        stage.tick()
    kept = stage.rollouts.unfinished()
    assert kept and kept.evidence.tested.total.requests == 15


def test_while_nothing_happens_nothing_is_written(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.tick()
    file = stage.lab.state / "delivery.db"
    before = file.stat().st_mtime_ns
    for _ in range(5):
        stage.tick(0.5)
    assert file.stat().st_mtime_ns == before


def test_a_gateway_that_does_not_follow_is_told_and_tried_again(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.gateway.unroutable = "nginx -t says no"
    stage.do(Promote())
    stage.tick()
    assert "nginx -t says no" in stage.said[-1]["message"]
    stage.gateway.unroutable = ""
    stage.tick(RETRY)
    stage.consistent()


def test_while_the_lab_is_down_nothing_is_decided(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.gateway.up = False
    stage.tick(RULES.progress_deadline)
    assert stage.rollout.phase is Phase.PROGRESSING
    assert stage.said[-1]["message"] == "the lab does not run"


def test_what_a_killed_controller_left_to_be_routed_is_routed_by_the_next(stage: Stage) -> None:
    stage.begin()
    stage.tick()
    stage.do(Abort())
    stage.rollouts.change(1, "settled", lambda one: replace(one, phase=Phase.ABORTED, ended=1.0))
    stage.restart()
    assert stage.tick() is False
    stage.consistent()


# --- texts and probes ------------------------------------------------------------------------

GOOD = "The company was founded by them."


def with_texts(**values: Any) -> Rules:
    return replace(RULES, text_gate=GATE, **values)


@pytest.mark.slow
def test_texts_that_are_as_good_pass_at_each_step(stage: Stage) -> None:
    stage.begin(rules=with_texts())
    stage.gateway.answers = {"base": GOOD, "tuned-2": GOOD}
    one = stage.until(Phase.COMPLETED, requests=10)
    texts = [kept.verdict.findings[-1] for kept in one.judged]
    assert [found.outcome for found in texts] == [Outcome.PASS] * 3
    assert texts[0].figures["n"] == 13, "ten, and three long ones that they make"
    asked = [name for name, path, _ in stage.gateway.asked if path == "/summarize/"]
    assert asked.count("base") == asked.count("tuned-2") >= 20


@pytest.mark.slow
def test_worse_texts_abort_however_good_the_rest_is(stage: Stage) -> None:
    stage.begin(rules=with_texts())
    stage.gateway.answers = {"base": GOOD, "tuned-2": ""}
    one = stage.until(Phase.ABORTED, requests=10)
    assert one.step == 1 and one.ending.startswith("text: empty is 1.0000 against 0.0000")


@pytest.mark.slow
def test_texts_that_get_worse_later_are_caught_at_the_next_step(stage: Stage) -> None:
    stage.begin(rules=with_texts())
    stage.gateway.answers = {"base": GOOD, "tuned-2": GOOD}
    while stage.rollout.step < 2:
        stage.traffic(10)
        stage.tick()
    stage.gateway.answers["tuned-2"] = ""
    one = stage.until(Phase.ABORTED, requests=10)
    assert one.step == 2 and one.ending.startswith("text: empty")


@pytest.mark.slow
def test_the_same_answers_again_are_no_new_look(stage: Stage) -> None:
    stage.begin(rules=with_texts(interval=200.0, progress_deadline=1000.0))
    stage.gateway.answers = {"base": GOOD, "tuned-2": GOOD}
    for _ in range(6):
        stage.tick(300)
    kept = stage.rollouts.unfinished()
    assert kept and kept.evidence.texts.looks == 1
    assert len(stage.gateway.asked) > 40


def test_answers_are_asked_for_afresh(stage: Stage) -> None:
    stage.begin(rules=with_texts())
    stage.tick()
    stage.tick()
    assert stage.gateway.asked
    assert all(
        headers["Cache-Control"] == "no-cache, no-store" for _, _, headers in stage.gateway.asked
    )


@pytest.mark.slow
def test_without_the_stable_ones_answers_no_text_is_judged(stage: Stage) -> None:
    stage.begin(rules=with_texts(interval=5.0, progress_deadline=20.0))
    stage.gateway.answers = {"base": None, "tuned-2": GOOD}
    one = stage.until(Phase.PAUSED, requests=10)
    assert one.paused is Paused.DEADLINE
    assert one.verdict and "both are asked for the texts" in one.verdict.reason


def test_blue_green_gets_its_samples_from_probes(stage: Stage) -> None:
    rules = replace(RULES, probe_rate=10.0)
    stage.begin(Kind.BLUEGREEN, rules=rules, auto_promote=True)
    one = stage.until(Phase.COMPLETED)
    assert one.promoted == "tuned-2" and "of them probes" in one.ending
    kept = stage.rollouts.last()
    assert kept and kept.evidence.tested.total.requests == 0


@pytest.mark.slow
def test_probes_are_asked_at_their_rate(stage: Stage) -> None:
    stage.begin(rules=replace(RULES, probe_rate=0.5, interval=90.0, min_samples=999))
    for _ in range(41):
        stage.tick()
    kept = stage.rollouts.unfinished()
    assert kept and kept.evidence.tested.total.probes == pytest.approx(20, abs=1)


def test_a_candidate_that_answers_no_probe_is_aborted(stage: Stage) -> None:
    stage.begin(Kind.BLUEGREEN, rules=replace(RULES, probe_rate=10.0))
    stage.gateway.answers = {"tuned-2": 503}
    one = stage.until(Phase.ABORTED)
    assert "errors: 100.0 %" in one.ending


def test_ticks_go_on_while_the_texts_are_asked_for_and_an_abort_ends_that(tmp_path: Path) -> None:
    init_lab(tmp_path)
    with ThreadPoolExecutor(1) as executor:
        stage = Stage(Lab(tmp_path), executor)
        release, asked = threading.Event(), threading.Event()

        def slow(path: str, body: bytes) -> str:
            asked.set()
            assert release.wait(20)
            return GOOD

        stage.gateway.answers = {"base": slow, "tuned-2": slow}
        stage.begin(rules=with_texts())
        stage.tick()
        stage.tick()
        assert asked.wait(20)
        stage.traffic(60, errors=60)
        stage.tick()
        assert stage.rollout.phase is Phase.ABORTING
        stage.tick()
        assert stage.rollout.phase is Phase.ABORTED
        release.set()
    assert len(stage.gateway.asked) <= 2, "the rest of the suite was not asked for any more"


class Faulty:
    """Pairs that fail in a way that nobody has thought of."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def tick(self, *_: object) -> bool:
        raise self.error

    def end(self, route: str) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "level", "told"),
    [
        (UpstreamError("base is away"), "warning", "base is away"),
        (ValueError("what a client wrote"), "error", "ValueError"),
        ("東".encode, "error", "UnicodeEncodeError"),
        (OSError(28, "No space left on device"), "error", "No space left on device"),
    ],
)
def test_what_goes_wrong_with_pairs_is_told_once_and_ends_no_controller(
    stage: Stage, error: Any, level: str, told: str
) -> None:
    if not isinstance(error, Exception):
        with pytest.raises(UnicodeError) as caught:
            error("latin-1")
        error = caught.value
    stage.controller.pairing = Faulty(error)  # type: ignore[assignment]
    stage.begin(rules=replace(RULES, pairs=1.0, pairs_gate=GATE))
    stage.tick()
    stage.tick()
    stage.traffic(60, errors=60)
    assert stage.until(Phase.ABORTED, requests=20)
    (said,) = [one for one in stage.said if "nothing is paired" in one["message"]]
    assert (said["level"], said["message"]) == (level, f"nothing is paired: {told}")
    assert "client" not in json.dumps(said)
    assert (level == "error") == ("test_rollout_controller.py" in str(said.get("trace")))


# --- shadow ----------------------------------------------------------------------------------


def copies(summary: str | None, *, of: int, called: str = "r") -> Callable[[str, bytes], Any]:
    """What a candidate tells of the copies that it got: so many, 7 of them at a time; and of
    another route's pair, at which it failed."""

    def answer(path: str, body: bytes) -> Any:
        if path == "/summarize/":
            return GOOD if summary is None else summary
        assert path.startswith("/shadow/answers?after=")
        after = int(path.partition("=")[2])
        told = {"error": "no place"} if summary is None else {"summary": summary}
        found = [
            {"n": n, "request_id": f"{called}{n}", "text": f"{GOOD} And so on, {n}.",
             "seconds": 0.2, "truncated": False, **told}
            for n in range(after + 1, min(of, after + 7) + 1)
        ]  # fmt: skip
        pair = {"n": of + 1, "request_id": "pair-1-0-1", "text": "A pair.", "pair": True,
                "seconds": 0.2, "truncated": False, "error": "no place"}  # fmt: skip
        return {"answers": [pair, *found], "dropped": 0}

    return answer


@pytest.mark.slow
def test_a_shadow_that_is_as_good_ends_with_that_verdict_and_never_has_traffic(
    stage: Stage,
) -> None:
    stage.begin(Kind.SHADOW, rules=with_texts())
    stage.gateway.answers = {"base": GOOD, "tuned-2": copies(GOOD, of=200)}
    one = stage.until(Phase.COMPLETED)
    assert not one.promoted and stage.rollouts.traffic().deployments == ()
    assert "of them copies of requests" in one.ending and "text: " in one.ending
    kept = stage.rollouts.last()
    assert kept and kept.evidence.texts.looks >= 1


def test_a_shadow_that_writes_nothing_is_aborted(stage: Stage) -> None:
    stage.begin(Kind.SHADOW, rules=with_texts())
    stage.gateway.answers = {"base": GOOD, "tuned-2": copies("", of=200)}
    assert stage.until(Phase.ABORTED).ending.startswith("text: empty")


@pytest.mark.parametrize("called", ["r", "pair-1-0-"])
def test_a_shadow_that_errs_is_aborted_whatever_clients_call_their_requests(
    stage: Stage, called: str
) -> None:
    stage.begin(Kind.SHADOW, rules=with_texts())
    stage.gateway.answers = {"base": GOOD, "tuned-2": copies(None, of=200, called=called)}
    assert stage.until(Phase.ABORTED).ending.startswith("errors: 100.0 %")


def test_no_copy_is_counted_twice_and_no_text_is_written_down(stage: Stage) -> None:
    stage.begin(Kind.SHADOW, rules=with_texts(interval=90.0))
    stage.gateway.answers = {"base": GOOD, "tuned-2": copies(GOOD, of=30)}
    for _ in range(20):
        stage.tick()
        stage.restart()
        stage.tick()
    kept = stage.rollouts.unfinished()
    assert kept and kept.evidence.texts.copies == 30
    assert kept.evidence.tested.total.probes == len(kept.evidence.texts.rows) == 30
    assert GOOD not in json.dumps(kept.evidence.dump())


# --- a and b ------------------------------------------------------------------------------------


def test_a_and_b_go_on_until_a_person_decides(stage: Stage) -> None:
    stage.begin(Kind.AB, percent=50.0)
    for _ in range(20):
        stage.traffic(3)
        stage.tick(20)
    assert stage.rollout.phase is Phase.PROGRESSING
    stage.do(Promote(arm="tuned-2"))
    stage.tick()
    assert stage.rollout.phase is Phase.COMPLETED
    assert route_of(stage.rollouts.traffic()).stable == "tuned-2"


# --- several routes -----------------------------------------------------------------------


def test_a_controller_hears_of_its_own_route_and_leaves_the_other_rollout_alone(
    stage: Stage,
) -> None:
    stage.begin()
    stage.begin(route="chat")
    for number in range(30):
        who = f"subject-{number}"
        of_chat = {"route": "chat", "endpoint": "/v1/chat/completions", "status": 500}
        stage.gateway.lines.append(line("tuned-2", subject=who, at=stage.now + 2, **of_chat))
        stage.gateway.lines.append(line("base", subject=who, at=stage.now + 2, rule="stable"))
    for _ in range(5):
        stage.tick()
    kept = stage.rollouts.unfinished("summarize")
    assert kept and kept.rollout.phase is Phase.PROGRESSING
    assert (kept.evidence.tested.total.requests, kept.evidence.base.total.requests) == (0, 30)
    other = stage.rollouts.unfinished("chat")
    assert other and other.rollout.phase is Phase.STARTING, "another controller takes that one on"


def test_errors_on_one_route_end_the_rollout_of_that_route_alone(stage: Stage) -> None:
    stage.begin()
    stage.begin(route="chat")
    of_chat = Controller(
        stage.rollouts, stage.gateway, Background(stage.gateway, stage.executor),
        stage.lab.root, lambda: stage.now, stage.said.append, "chat",
    )  # fmt: skip
    for _ in range(100):
        stage.now += 1
        for number in range(4):
            at = stage.now - 2 * SLICE
            for name, rule in (("base", "stable"), ("tuned-2", "split")):
                who = f"subject-{next(WHO)}"
                broken = 500 if name == "tuned-2" and number % 2 else 200
                asked = {"subject": who, "at": at, "rule": rule}
                stage.gateway.lines.append(line(name, **asked))
                chat = {"route": "chat", "endpoint": "/v1/chat/completions", "status": broken}
                stage.gateway.lines.append(line(name, **asked, **chat))
        stage.controller.tick()
        of_chat.tick()
    ended, fine = stage.rollouts.get(2).rollout, stage.rollouts.get(1).rollout
    assert ended.phase is Phase.ABORTED and "errors" in ended.ending
    assert fine.phase in (Phase.PROGRESSING, Phase.COMPLETED)
    traffic = stage.rollouts.traffic()
    assert traffic.route("chat").weights("base") == {"base": 100}
    assert traffic.route("summarize").weights("base").get("tuned-2", 0) >= 5
    assert "tuned-2" in [one.name for one in traffic.deployments]


# --- a route that is no summaries: judged by questions ------------------------------------


def quiz(lab: Lab, questions: int) -> None:
    """A suite of that many questions, each with one right answer."""
    rows = [
        {"id": f"q{n}", "prompt": f"What is {n} and 1?", "equals": str(n + 1)}
        for n in range(questions)
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (lab.root / "configs" / "suites" / "quiz.jsonl").write_text(text)


def answering(*, wrong: int = 0) -> Callable[[str, bytes], Any]:
    """A chat model that adds, but for so many of the first questions."""

    def answer(path: str, body: bytes) -> Any:
        assert path == "/v1/chat/completions"
        (said,) = json.loads(body)["messages"]
        number = int(said["content"].split()[2])
        content = "I do not know." if number < wrong else str(number + 1)
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}

    return answer


@pytest.fixture
def chats(stage: Stage) -> Stage:
    """A canary on the route chat, by the rules that lab.toml has for such a route."""
    quiz(stage.lab, 42)
    section = RolloutSection(chat_suite="quiz", probe_suite="founding", text_gate="empty<=+0.0")
    asked = {"steps": (10.0, 100.0), "interval": 10.0, "progress_deadline": 100.0,
             "error_margin": 0.05, "bake": 5.0}  # fmt: skip
    wish = Wish(Kind.CANARY, ("tuned:2",), rules=asked, route="chat")
    stage.begin(rules=rules_of(Config(rollout=section), wish), route="chat")
    stage.controller = Controller(
        stage.rollouts, stage.gateway, Background(stage.gateway, stage.executor),
        stage.lab.root, lambda: stage.now, stage.said.append, "chat",
    )  # fmt: skip
    stage.asked_by = {"route": "chat", "endpoint": "/v1/chat/completions"}
    return stage


@pytest.mark.slow
def test_a_chat_model_that_answers_as_well_goes_all_the_way(chats: Stage) -> None:
    chats.gateway.answers = {"base": answering(wrong=2), "tuned-2": answering(wrong=2)}
    one = chats.until(Phase.COMPLETED, requests=10)
    assert one.rules.text_gate == RolloutSection().chat_gate
    texts = [kept.verdict.findings[-1] for kept in one.judged]
    assert {found.outcome for found in texts} == {Outcome.PASS}
    assert texts[0].figures["n"] == 42
    assert "checks 0.952 against 0.952" in texts[0].reason
    assert {path for _, path, _ in chats.gateway.asked} == {"/v1/chat/completions"}
    traffic = chats.rollouts.traffic()
    assert (traffic.route("chat").stable, traffic.route("summarize").stable) == ("tuned-2", "")


@pytest.mark.slow
def test_a_chat_model_that_has_forgotten_what_it_knew_is_aborted(chats: Stage) -> None:
    chats.gateway.answers = {"base": answering(), "tuned-2": answering(wrong=30)}
    one = chats.until(Phase.ABORTED, requests=10)
    assert one.step == 1 and one.ending.startswith("text: checks is 0.2857 against 1.0000")
    assert not chats.rollouts.traffic().route("chat").split
