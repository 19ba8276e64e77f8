"""What an API remembers of its clients' texts for a rollout: some, in memory, while it is told
to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab.lab import Lab, init_lab
from llmlab.recording.sampling import FILE, LASTS, Sample, Samples, sample_file, tell
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.pairing import Pairing
from llmlab.rollout.state import Phase, Rules
from llmlab.rollout.worst_pair import WorstPairs
from llmlab.service.chat.copies import text_of
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.sampling.remembering import (
    KEPT,
    KEPT_CHARACTERS,
    KEPT_SECONDS,
    LONGEST_REQUEST,
    LONGEST_TEXT,
    Memory,
)
from llmlab.service.schemas import SummarizeRequest
from tests.api import SENTENCE, TEXTRANK, Api, wait_until
from tests.rollouts import at

KEY = "0" * 64
ORDER = Sample(
    deployment="textrank", route="summarize", share=100.0, slice=2.0, until=4e9, pseudonyms=KEY
)


def ordered(**values: Any) -> Sample:
    return ORDER.model_copy(update=values)


def memory(order: Sample | None, now: Callable[[], float] = lambda: 1000.0) -> Memory:
    one = Memory(None, "textrank", clock=now)
    one.take([order] if order else [])
    return one


def keep(one: Memory, text: str = "A text.", subject: str = "ada", **asked: Any) -> None:
    one.keep("summarize", subject, SummarizeRequest(text=text, **asked), text, "A summary.")


def test_without_an_order_nothing_is_taken() -> None:
    one = memory(None)
    assert not one.takes("summarize", "ada")
    keep(one)
    assert not one.since("summarize", 0)


@pytest.mark.parametrize(
    ("order", "route"), [({}, "chat"), ({"until": 999.0}, "summarize"), ({"route": "x"}, "")]
)
def test_what_is_of_another_route_or_came_too_late_is_not_taken(
    order: dict[str, Any], route: str
) -> None:
    assert not memory(ordered(**order)).takes(route, "ada")


def test_a_share_is_exact_and_a_subject_counts_once_in_a_slice() -> None:
    now = [1000.0]
    one = memory(ordered(share=25.0), lambda: now[0])
    assert sum(one.takes("summarize", f"s{number}") for number in range(40)) == 10
    one = memory(ORDER, lambda: now[0])
    assert [one.takes("summarize", who) for who in ("ada", "ada", "bob")] == [True, False, True]
    now[0] += 2
    assert one.takes("summarize", "ada")


def test_what_is_asked_beside_the_text_is_kept_and_who_asked_is_a_pseudonym() -> None:
    one = memory(ORDER)
    keep(one, max_length=30)
    keep(one, "Another text.")
    first, second = one.since("summarize", 0)
    assert first.options == {"max_length": 30} and second.options == {}
    assert first.subject == second.subject != "ada"
    assert first.by == "ada"  # for the copy alone
    assert one.since("summarize", first.n) == [second]


def test_it_is_bounded_in_number_and_in_age() -> None:
    now = [1000.0]
    one = memory(ORDER, lambda: now[0])
    for number in range(KEPT + 5):
        keep(one, f"Text {number}.")
    assert len(one.since("summarize", 0)) == KEPT and one.since("summarize", 0)[0].text == "Text 5."
    now[0] += KEPT_SECONDS + 1
    one.look()
    assert not one.since("summarize", 0)


def said(text: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


LONG = "x" * (LONGEST_REQUEST + 1)
PART = {"type": "text", "text": "Hello"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"description": LONG}}}
TOOL = {"type": "function", "function": {"name": "f", "description": LONG}}


@pytest.mark.parametrize(
    ("body", "answer", "left_out"),
    [
        (said("x" * (LONGEST_TEXT - 4)), "Yes.", False),
        (said("x" * (LONGEST_TEXT - 3)), "Yes.", True),
        (said("Hello"), "x" * LONGEST_TEXT, True),
        (said("Hello", tools=[TOOL], tool_choice="none"), "Yes.", True),
        (said("Hello", response_format=SCHEMA), "Yes.", True),
        (said("Hello", stop=[LONG]), "Yes.", True),
        (said([PART, {"type": "refusal", "refusal": LONG}]), "Yes.", True),
        (said([PART | {"junk": LONG}]), "Yes.", False),  # which no copy has
    ],
)
def test_of_what_is_too_long_in_any_of_its_parts_it_remembers_nothing_but_that(
    body: dict[str, Any], answer: str, left_out: bool
) -> None:
    one, asked = memory(ORDER), ChatRequest.model_validate(body)
    one.keep("summarize", "ada", asked, text_of(asked), answer, {"cut_off": False})
    (kept,) = one.since("summarize", 0)
    told = json.dumps(kept.as_json(), ensure_ascii=False)
    assert kept.left_out is left_out and kept.size == len(told)
    assert (kept.text, kept.options == {}) == ("" if left_out else text_of(asked), left_out)
    assert len(told) < (200 if left_out else LONGEST_TEXT + LONGEST_REQUEST)


def test_it_is_bounded_in_what_all_of_it_is_together() -> None:
    one = memory(ORDER)
    body = said("Hello", tools=[TOOL | {"function": {"name": "f", "description": "x" * 90_000}}])
    asked = ChatRequest.model_validate(body)
    for number in range(KEPT):
        one.keep("summarize", f"s{number}", asked, "Hello", "Yes.", {"cut_off": False})
    kept = one.since("summarize", 0)
    assert len(json.dumps([each.as_json() for each in kept])) < KEPT_CHARACTERS + 2 * KEPT
    assert len(kept) == KEPT_CHARACTERS // kept[0].size


class Stable:
    """A lab whose one stable version serves two routes, and a candidate that answers at once."""

    def __init__(self, root: Path) -> None:
        init_lab(root)
        self.lab = Lab(root)
        (self.lab.state / "deployments").mkdir(parents=True)
        self.now = time.time()
        file = sample_file(self.lab.state / "deployments" / "settings.json")
        self.memory = Memory(file, "base", clock=lambda: self.now)
        self.copies: list[str] = []

    def remember(self, route: str, sample: Sample | None) -> None:
        tell(self.lab, route, sample)

    def processes(self, deployment: str) -> list[str]:
        return [deployment]

    def ask(self, deployment: str, path: str, **how: Any) -> tuple[int, bytes]:
        what, _, query = path.partition("?")
        told = dict(one.split("=") for one in query.split("&") if one)
        found: dict[str, Any] = {"taken": True}
        if what == "/shadow/asked":
            asked = self.memory.since(told["route"], int(told["after"]))
            found = {"asked": [one.as_json() for one in asked]}
        elif what == "/shadow/answers":
            found = {
                "answers": [
                    {"n": n, "request_id": name, "summary": "Another."}
                    for n, name in enumerate(self.copies, 1)
                    if n > int(told["after"])
                ]
            }
        else:
            self.copies.append(how["headers"]["X-Request-ID"])
        return 202 if what == "/shadow/" else 200, json.dumps(found).encode()


class OnRoute:
    def __init__(self, stable: Stable, route: str, number: int) -> None:
        rules = Rules(pairs=1.0, pairs_gate="empty<=+0.02")
        self.stable, self.route = stable, route
        self.rollout = replace(at(Phase.PROGRESSING), number=number, route=route, rules=rules)
        self.evidence = Evidence.of(self.rollout)
        worst = WorstPairs(stable.lab)
        self.pairing = Pairing(stable, worst, lambda: stable.now)  # type: ignore[arg-type]

    def asked(self, number: int) -> int:
        """How many pairs there are after one text more."""
        text = f"{self.route} {number}."
        if self.stable.memory.takes(self.route, f"s{number}"):
            asked = SummarizeRequest(text=text)
            self.stable.memory.keep(self.route, f"s{number}", asked, text, "One.")
        self.tick()
        return self.evidence.pairs.pairs

    def tick(self) -> None:
        self.pairing.tick(self.rollout, self.evidence)
        self.stable.memory.look()


def test_rollouts_of_two_routes_both_get_their_pairs_and_one_that_ends_ends_its_own(
    tmp_path: Path,
) -> None:
    stable = Stable(tmp_path)
    news, mail = OnRoute(stable, "news", 1), OnRoute(stable, "mail", 2)
    news.tick()
    mail.tick()
    for number in range(1, 4):
        stable.now += LASTS / 3  # each renews its order
        assert (news.asked(number), mail.asked(number)) == (number, number)
    news.pairing.end("news")
    stable.memory.look()
    assert not stable.memory.takes("news", "s9") and mail.asked(4) == 4
    mail.pairing.end("mail")
    stable.memory.look()
    assert not stable.memory.orders
    assert not list((stable.lab.state / "deployments").iterdir())


def test_what_was_too_long_to_be_remembered_is_told_as_dropped_once(tmp_path: Path) -> None:
    news = OnRoute(Stable(tmp_path), "news", 1)
    news.tick()
    text = "x" * (LONGEST_TEXT + 1)
    news.stable.memory.keep("news", "ada", SummarizeRequest(text=text), text, "One.")
    assert news.asked(1) == 1
    assert news.asked(2) == 2 and news.evidence.pairs.dropped == 1
    assert len(news.stable.copies) == 2


def test_an_order_that_nobody_renews_ends_alone(tmp_path: Path) -> None:
    stable = Stable(tmp_path)
    first = ordered(deployment="base", route="news", until=stable.now + 60)
    tell(stable.lab, "news", first)
    tell(stable.lab, "mail", first.model_copy(update={"route": "mail", "until": stable.now + 120}))
    stable.memory.look()
    assert [one.route for one in stable.memory.orders] == ["news", "mail"]
    stable.now += 90
    stable.memory.look()
    assert [one.route for one in stable.memory.orders] == ["mail"]
    tell(stable.lab, "news", first.model_copy(update={"until": 1.0}))
    tell(stable.lab, "mail", None)  # and what has ended goes with it
    assert not list((stable.lab.state / "deployments").iterdir())


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(TEXTRANK).start().until_ready()


def order(api: Api, **values: Any) -> None:
    fresh = api.home / "fresh"
    one = ordered(deployment=api.name + "-blue", **values)
    fresh.write_text(Samples(samples=(one,)).model_dump_json())
    fresh.rename(api.home / FILE)


def asked(api: Api) -> list[str]:
    return [one["text"] for one in api.get("/shadow/asked?route=summarize").json()["asked"]]


def ask(api: Api, number: int, **headers: str) -> None:
    """Each time somebody else."""
    told = {"X-Route": "summarize", "X-Subject": f"s{number}"} | headers
    text = f"{SENTENCE} It was {number}."
    assert api.request("POST", "/summarize/", json={"text": text}, headers=told).is_success


def test_an_api_remembers_what_it_is_told_to_but_not_of_who_opts_out(api: Api) -> None:
    ask(api, 1)
    assert not asked(api)
    order(api)
    wait_until(lambda: "is remembered" in api.stdout, "it is told")
    ask(api, 2)
    ask(api, 3, **{"Cache-Control": "no-store"})
    ask(api, 4, **{"X-Route": "news"})
    ask(api, 5, Accept="text/event-stream")
    assert [one.rpartition(" ")[2] for one in asked(api)] == ["2.", "5."]
    (api.home / FILE).unlink()
    wait_until(lambda: "is no longer remembered" in api.stdout, "it is over")
    ask(api, 6)
    assert not asked(api)


def test_what_is_no_order_and_what_is_for_others_has_it_remember_nothing(api: Api) -> None:
    (api.home / FILE).write_text('{"share": 100}')
    wait_until(lambda: "says nothing to remember" in api.stdout, "it was read")
    order(api, until=1.0)
    ask(api, 7)
    assert not asked(api)
    (api.home / FILE).unlink()
