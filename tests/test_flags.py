"""Feature flags: who is on which side, as NGINX has it; what a flag may be; and the verb."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import UsageError
from llmlab.flags import changing
from llmlab.flags.defining import MOST, defined, parse_audience
from llmlab.flags.evaluate import Evaluated, claim_text, evaluate, preset
from llmlab.flags.split import LARGEST, hundredths, murmur2, position, side
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.traffic import Flag, Match, Traffic
from tests.conftest import LabUnderTest
from tests.split_nginx import key_with_hash, splitting
from tests.summarizing import summarizing

# --- As NGINX splits -----------------------------------------------------------

SPLITS = (["0.01%"], ["10.00%"], ["12.34%"], ["50%"], ["99.99%"], ["100%"],
          ["5%", "25.5%", "33.33%"], ["33.33%", "33.33%", "33.34%"], ["0.01%"] * 20)  # fmt: skip
LETTERS = "abcXYZ019 .:_-@/~Ωж漢🗼"


def as_numbers(percents: list[str]) -> list[float]:
    return [float(percent.removesuffix("%")) for percent in percents]


@pytest.mark.slow
def test_thousands_of_keys_are_on_the_side_where_nginx_has_them() -> None:
    chance = random.Random(1)
    keys = [f"short:user-{number}" for number in range(3000)]
    keys += [
        "k" + "".join(chance.choices(LETTERS, k=chance.randrange(60))) + "k" for _ in range(3000)
    ]
    with splitting(*SPLITS) as nginx:
        theirs = nginx.sides(keys)
    ours = [[side(key, as_numbers(percents)) for percents in SPLITS] for key in keys]
    assert ours == theirs
    for number, percents in enumerate(SPLITS):  # and every side was met, unless it is tiny
        met = {sides[number] for sides in theirs}
        assert {n for n, percent in enumerate(as_numbers(percents)) if percent > 1} <= met


def test_at_the_end_of_each_share_it_is_right_to_the_last_bit() -> None:
    chance = random.Random(2)
    cases = []
    for percents in SPLITS:
        end = 0
        for percent in as_numbers(percents):
            end += hundredths(percent) * LARGEST // 10_000
            for hashed in {end - 1, end, min(end + 1, LARGEST), LARGEST, 0}:
                key = key_with_hash(hashed, chance)
                assert murmur2(key.encode()) == hashed
                cases.append(key)
    with splitting(*SPLITS) as nginx:
        theirs = nginx.sides(cases)
    assert [[side(key, as_numbers(percents)) for percents in SPLITS] for key in cases] == theirs


@given(st.text(max_size=40), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_share_takes_the_flag_from_nobody(key: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    key = key.encode(errors="replace").decode()
    assert side(key, [larger]) == 0 or side(key, [smaller]) is None


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 0), (0.001, 0), (0.009999, 0), (0.01, 1), (0.29, 29), (12.345, 1234), (33.333, 3333),
     (99.999, 9999), (100, 10_000)],
)  # fmt: skip
def test_shares_have_two_decimals_and_are_rounded_down(percent: float, expected: int) -> None:
    assert hundredths(percent) == expected


@pytest.mark.parametrize("percent", [0.5, 10, 37.5, 80])
def test_so_many_of_many_subjects_are_in_a_share(percent: float) -> None:
    subjects = [f"subject-{number}" for number in range(20_000)]
    share = sum(side(f"a:{one}", [percent]) == 0 for one in subjects) / len(subjects) * 100
    assert abs(share - percent) < 1.2


def test_flags_of_one_share_are_on_for_different_subjects() -> None:
    subjects = [f"subject-{number}" for number in range(2000)]
    both = sum(side(f"a:{one}", [50]) == side(f"b:{one}", [50]) == 0 for one in subjects)
    assert 400 < both < 600


def test_a_position_says_from_which_share_on_it_is_within() -> None:
    for number in range(500):
        key = f"k{number}"
        at = position(key)
        assert side(key, [min(100.0, at + 0.02)]) == 0
        assert side(key, [max(0.0, at - 0.02)]) is None


# --- For whom a flag is on -----------------------------------------------------

PLAN = Flag("new", audience=(("plan", "trial"), ("sub", "quotes")), percent=0)


@pytest.mark.parametrize(
    ("claims", "on"),
    [
        ({"sub": "alice"}, False),
        ({"sub": "alice", "plan": "trial"}, True),
        ({"sub": "quotes"}, True),
        ({"sub": "Quotes"}, False),
        ({"plan": ["trial"]}, False),
        ({}, False),
    ],
)
def test_an_audience_names_values_of_claims_any_of_which_is_enough(
    claims: dict[str, Any], on: bool
) -> None:
    assert evaluate(PLAN, claims).on is on


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (5, "5"), (-5, "-5"), (True, "true"), (None, ""), (["a"], ""), ({"a": 1}, ""),
     (1.5, "1.5"), (1.0, "1.0"), (0.1, "0.10000000000000001"), (1e21, "1e21"),
     (1e-7, "9.9999999999999995e-8")],
)  # fmt: skip
def test_a_claim_is_compared_as_the_gateway_reads_it(value: Any, text: str) -> None:
    assert claim_text(value) == text


def test_an_evaluation_says_why() -> None:
    flag = Flag("new", percent=40, audience=(("plan", "trial"),))
    assert evaluate(flag, {"sub": "a", "plan": "trial"}) == Evaluated(
        "new", True, "audience", "its audience names plan=trial"
    )
    found = evaluate(flag, {"sub": "alice"})
    assert found.rule == "share"
    assert found.why == (
        f"alice stands at {position('new:alice'):.2f} %, "
        f"{'within' if found.on else 'beyond'} its share of 40 %"
    )
    assert evaluate(Flag("new"), {"sub": "alice"}).rule == "nobody"


def test_without_a_subject_the_visitor_counts() -> None:
    flag = Flag("new", percent=50)
    visitors = [f"10.0.0.{number}" for number in range(200)]
    on = [evaluate(flag, {}, visitor=one).on for one in visitors]
    assert on == [evaluate(flag, {"sub": one}).on for one in visitors]
    assert 60 < sum(on) < 140


def test_of_several_flags_the_first_that_is_on_decides_each_parameter() -> None:
    flags = [
        Flag("a", decoding={"max_length": 10}),
        Flag("b", decoding={"max_length": 20, "strategy": "truncate"}),
        Flag("c", decoding={"strategy": "full"}),
    ]
    assert preset(flags, {"a": True, "b": True, "c": True}) == {
        "max_length": 10, "strategy": "truncate",
    }  # fmt: skip
    assert preset(flags, {"a": False, "b": False, "c": True}) == {"strategy": "full"}


# --- What a flag may be --------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "short-summaries", "a1-", "a" * 40])
def test_names_fit_variables_and_headers(name: str) -> None:
    assert defined(Flag(name)).name == name


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "-a", "a_b", "a b", "a=b", "a,b", "ä", "a" * 41, "a\n", "a;b", "$a"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a flag's name"):
        defined(Flag(name))


@pytest.mark.parametrize(
    "given", ["sub", "=a", "sub=", "sub= a", "sub=a\n", "sub=a\x1b[2J", "a b=c", "sub=" + "a" * 257,
              "sub=\udcff"]
)  # fmt: skip
def test_an_audience_is_claims_with_printable_values(given: str) -> None:
    with pytest.raises(UsageError):
        parse_audience([given])


def test_values_of_an_audience_may_hold_signs_and_other_letters() -> None:
    given = ["sub=Jürgen 東京", "sub=a=b", 'https://x.org/role="x";{}$']
    assert parse_audience(given) == (
        ("sub", "Jürgen 東京"), ("sub", "a=b"), ("https://x.org/role", '"x";{}$'),
    )  # fmt: skip


@pytest.mark.parametrize(
    "parts",
    [
        {"percent": 100.1}, {"percent": -1}, {"percent": 12.345}, {"percent": float("nan")},
        {"decoding": {"max_length": 0}}, {"decoding": {"max_length": 5000}},
        {"decoding": {"min_length": -1}}, {"decoding": {"min_length": 9, "max_length": 8}},
        {"decoding": {"strategy": "best"}},
    ],
)  # fmt: skip
def test_what_a_flag_does_is_bounded(parts: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        defined(Flag("a"), **parts)


def test_what_is_not_said_stays_as_it_is() -> None:
    flag = defined(Flag("a"), percent=10, deployment="b", decoding={"max_length": 9})
    flag = defined(flag, decoding={"max_length": None, "min_length": 2})
    assert flag == Flag("a", percent=10, deployment="b", decoding={"min_length": 2})
    assert defined(flag, deployment="").deployment == ""


# --- Written down --------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Lab(tmp_path))


def on_for_all(flag: Flag | None, name: str = "a") -> Flag:
    return defined(flag or Flag(name), percent=100.0)


def test_a_change_is_an_entry_and_none_is_none(store: Store) -> None:
    assert changing.set_flag(store, "a", on_for_all, "why not") == (Flag("a", percent=100), True)
    assert changing.set_flag(store, "a", on_for_all) == (Flag("a", percent=100), False)
    (entry,) = store.entries()
    assert (entry.kind, entry.why) == ("flag", "why not")
    assert entry.document["definition"]["percent"] == 100


def test_a_flag_keeps_its_place(store: Store) -> None:
    for name in ("a", "b", "c"):
        changing.set_flag(store, name, lambda flag, name=name: on_for_all(flag, name))
    changing.set_flag(store, "b", lambda flag: defined(flag or Flag("b"), percent=1.0))
    assert [one.name for one in store.traffic().flags] == ["a", "b", "c"]


def test_a_lab_has_not_too_many_flags(store: Store) -> None:
    names = [f"f{number}" for number in range(MOST)]
    store.change("flag", {}, lambda _: Traffic(flags=tuple(map(Flag, names))))
    with pytest.raises(UsageError, match="at most 32"):
        changing.set_flag(store, "more", lambda flag: on_for_all(flag, "more"))


def test_a_flag_by_which_requests_are_routed_is_not_removed(store: Store) -> None:
    match = Match("flag", "a", "on", "textrank")
    store.change("route", {}, lambda _: summarizing(matches=(match,), flags=(Flag("a"),)))
    with pytest.raises(UsageError, match="routed by the flag a"):
        changing.remove(store, "a")
    with pytest.raises(UsageError, match="there is no flag b; flags: a"):
        changing.remove(store, "b")


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        ((10, ("a",)), {"percent": 80.0}, (80, ("a",))),
        ((10, ("a",)), {"audience": ("b",)}, (10, ("b",))),
        ((10, ("a",)), {"audience": ()}, (10, ())),
        ((100, ()), {"audience": ("a",)}, (0, ("a",))),
        ((100, ()), {"audience": ("a",), "percent": 100.0}, (100, ("a",))),
        ((10, ("a",)), {"percent": 0.0, "audience": ()}, (0, ())),
    ],
)
def test_what_is_not_said_of_for_whom_a_flag_is_on_stays(
    before: tuple[float, tuple[str, ...]], said: dict[str, Any], after: tuple[float, Any]
) -> None:
    def audience(subjects: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return tuple(("sub", one) for one in subjects)

    flag = Flag("new", percent=before[0], audience=audience(before[1]))
    if "audience" in said:
        said = said | {"audience": audience(said["audience"])}
    assert defined(flag, **said) == Flag("new", percent=after[0], audience=audience(after[1]))


# --- The verb ------------------------------------------------------------------


@pytest.fixture
def quiet(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that does not run."""
    return make_lab()


def test_flags_are_set_listed_explained_and_removed(quiet: LabUnderTest) -> None:
    quiet.ok("flag", "set", "short", "--percent", "10", "--for", "sub=quotes",
             "--max-length", "30", "--strategy", "truncate", "--why", "try it")  # fmt: skip
    (flag,) = quiet.json("flag", "list")
    assert flag == {
        "name": "short", "percent": 10.0, "audience": [["sub", "quotes"]], "deployment": "",
        "route": "summarize", "decoding": {"max_length": 30, "strategy": "truncate"},
    }  # fmt: skip
    assert "sub=quotes, 10 % of the others  max_length=30, strategy=truncate" in (
        quiet.ok("flag", "list")
    )
    assert quiet.json("flag", "explain", "short", "--sub", "quotes")["rule"] == "audience"
    assert "of 10 %" in quiet.ok("flag", "explain", "short", "--sub", "alice")
    assert quiet.json("flag", "set", "short", "--percent", "80")["audience"] == [["sub", "quotes"]]
    done = quiet.json("flag", "set", "short", "--off", "--max-length", "0")
    assert (done["changed"], done["routed"]) == (True, False)
    assert done["decoding"] == {"strategy": "truncate"}
    assert done["audience"] == []
    quiet.ok("flag", "rm", "short", "--why", "done")
    assert quiet.json("flag", "list") == []
    history = quiet.json("flag", "history", "short")
    assert [one["why"] for one in history] == ["try it", "", "", "done"]
    assert history[-1]["definition"] is None
    assert quiet.json("flag", "history", "other") == []
    quiet.ok("ledger", "verify")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "nothing says for whom it is on"),
        (["a", "--on", "--off"], "exclude each other"),
        (["a", "--on", "--percent", "5"], "exclude each other"),
        (["a", "--on", "--deployment", "nobody"], "is no deployment of this lab"),
        (["A", "--on"], "cannot be a flag's name"),
        (["a", "--on", "--strategy", "best"], "is no strategy"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    quiet: LabUnderTest, arguments: list[str], said: str
) -> None:
    done = quiet.run("flag", "set", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert quiet.json("flag", "list") == []
