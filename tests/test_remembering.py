"""What an API remembers of its clients' texts for a rollout: some, in memory, while it is told
to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmlab.recording.sampling import FILE, Sample
from llmlab.service.sampling.remembering import KEPT, KEPT_SECONDS, Memory
from llmlab.service.schemas import SummarizeRequest
from tests.api import SENTENCE, TEXTRANK, Api, wait_until

KEY = "0" * 64
ORDER = Sample(
    deployment="textrank", route="summarize", share=100.0, slice=2.0, until=4e9, pseudonyms=KEY
)


def ordered(**values: Any) -> Sample:
    return ORDER.model_copy(update=values)


def memory(order: Sample | None, now: Callable[[], float] = lambda: 1000.0) -> Memory:
    one = Memory(None, "textrank", clock=now)
    one.order = order
    return one


def keep(one: Memory, text: str = "A text.", subject: str = "ada", **asked: Any) -> None:
    one.keep(subject, SummarizeRequest(text=text, **asked), text, "A summary.")


def test_without_an_order_nothing_is_taken() -> None:
    one = memory(None)
    assert not one.takes("summarize", "ada")
    keep(one)
    assert not one.since(0)


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
    first, second = one.since(0)
    assert first.options == {"max_length": 30} and second.options == {}
    assert first.subject == second.subject != "ada"
    assert first.by == "ada"  # for the copy alone
    assert one.since(first.n) == [second]


def test_it_is_bounded_in_number_and_in_age() -> None:
    now = [1000.0]
    one = memory(ORDER, lambda: now[0])
    for number in range(KEPT + 5):
        keep(one, f"Text {number}.")
    assert len(one.since(0)) == KEPT and one.since(0)[0].text == "Text 5."
    now[0] += KEPT_SECONDS + 1
    one.look()
    assert not one.since(0)


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(TEXTRANK).start().until_ready()


def tell(api: Api, **values: Any) -> None:
    fresh = api.home / "fresh"
    fresh.write_text(ordered(deployment=api.name + "-blue", **values).model_dump_json())
    fresh.rename(api.home / FILE)


def asked(api: Api) -> list[str]:
    return [one["text"] for one in api.get("/shadow/asked").json()["asked"]]


def ask(api: Api, number: int, **headers: str) -> None:
    """Each time somebody else."""
    told = {"X-Route": "summarize", "X-Subject": f"s{number}"} | headers
    text = f"{SENTENCE} It was {number}."
    assert api.request("POST", "/summarize/", json={"text": text}, headers=told).is_success


def test_an_api_remembers_what_it_is_told_to_but_not_of_who_opts_out(api: Api) -> None:
    ask(api, 1)
    assert not asked(api)
    tell(api)
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
    tell(api, until=1.0)
    ask(api, 7)
    assert not asked(api)
    (api.home / FILE).unlink()
