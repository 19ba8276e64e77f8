"""W3C Trace Context at the gateway: what it passes on of a client's traceparent and tracestate.

One row for each case of https://github.com/w3c/trace-context/tree/main/test, in our own words and
with values of our own, and some that are not there. https://www.w3.org/TR/trace-context-2/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.test_gateway import EchoGateway, echo_gateway, headers_of
from tests.test_plus import PLUS, without_licence

pytestmark = pytest.mark.conformance

TRACE, PARENT = "9f" * 16, "7a" * 8
GIVEN = f"00-{TRACE}-{PARENT}-01"
PASSED = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-(0[0-3])")
EDITIONS: dict[str, dict[str, object]] = {"open": {}, "plus": {**PLUS, "change": without_licence}}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """What is sent, and what is to be passed on: the client's trace or a new one, with flags
    and with a state; None for no state."""

    sent: Headers
    goes_on: bool = True
    flags: str = "01"
    state: str | None = None


def anew(*parents: str) -> list[Row]:
    """Each of these begins a trace, whatever state comes with it."""
    return [Row((("traceparent", one), ("tracestate", "a=1")), goes_on=False) for one in parents]


def goes_on(*parents: str, flags: str = "01") -> list[Row]:
    return [Row((("traceparent", one),), flags=flags) for one in parents]


def named(*names: str) -> list[Row]:
    return [Row(((one, GIVEN),)) for one in names]


def state(*sent: str, passed: str | None) -> Row:
    """One header for each that is sent, beside a good traceparent."""
    headers = tuple(("tracestate", one) for one in sent)
    return Row((("traceparent", GIVEN), *headers), state=passed)


def kept(*states: str) -> list[Row]:
    return [state(one, passed=one.strip()) for one in states]


def dropped(*states: str) -> list[Row]:
    return [state(one, passed=None) for one in states]


MEMBERS = [f"k{number:02}={number}" for number in range(1, 34)]
KEY = "z" * 255
CASES: dict[str, list[Row]] = {
    # traceparent
    "neither header": [Row((), goes_on=False)],
    "traceparent alone": goes_on(GIVEN),
    "traceparent twice": [
        Row((("traceparent", GIVEN), ("traceparent", GIVEN)), goes_on=False),
        Row((("traceparent", GIVEN), ("traceparent", GIVEN.replace("9f", "8e"))), goes_on=False),
        *anew(f"cc{GIVEN[2:]}, cc{GIVEN[2:]}", f"cc{GIVEN[2:]}-x, {GIVEN}"),
    ],
    "another header's name": [
        Row(((name, GIVEN),), goes_on=False) for name in ("trace-parent", "trace.parent", "parent")
    ],
    "its name in other cases": named("TraceParent", "TRACEPARENT", "tRaCePaReNt"),
    "version 00 with more behind it": anew(f"{GIVEN}.", f"{GIVEN}-", f"{GIVEN}-later"),
    "a later version": goes_on(f"cc{GIVEN[2:]}", f"cc{GIVEN[2:]}-and-more", f"01{GIVEN[2:]}"),
    "a later version with anything else behind it": anew(f"cc{GIVEN[2:]}.and-more"),
    "version ff": anew(f"ff{GIVEN[2:]}", f"ff{GIVEN[2:]}-more"),
    "a version that is none": anew(f".0{GIVEN[2:]}", f"0.{GIVEN[2:]}", f"CC{GIVEN[2:]}"),
    "a version that is too long": anew(f"0{GIVEN}", f"00{GIVEN}"),
    "a version that is too short": anew(GIVEN[1:], GIVEN[2:]),
    "a trace id of zeros": anew(f"00-{'0' * 32}-{PARENT}-01"),
    "a trace id that is none": anew(
        f"00-.{TRACE[1:]}-{PARENT}-01", f"00-{TRACE[:-1]}.-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
    ),
    "a trace id that is too long": anew(f"00-{TRACE}0-{PARENT}-01"),
    "a trace id that is too short": anew(f"00-{TRACE[1:]}-{PARENT}-01"),
    "a parent id of zeros": anew(f"00-{TRACE}-{'0' * 16}-01"),
    "a parent id that is none": anew(
        f"00-{TRACE}-.{PARENT[1:]}-01", f"00-{TRACE}-{PARENT[:-1]}.-01"
    ),
    "a parent id that is too long": anew(f"00-{TRACE}-{PARENT}0-01"),
    "a parent id that is too short": anew(f"00-{TRACE}-{PARENT[1:]}-01"),
    "flags that are none": anew(f"{GIVEN[:-2]}.1", f"{GIVEN[:-2]}0.", f"{GIVEN[:-2]}0A"),
    "flags that are too long": anew(f"{GIVEN}0", f"{GIVEN[:-2]}001"),
    "flags that are too short": anew(GIVEN[:-1]),
    "white space around traceparent": goes_on(
        f" {GIVEN}", f"\t{GIVEN}", f"{GIVEN} ", f"{GIVEN}\t", f"\t {GIVEN} \t"
    ),
    # what a client says of the trace stays with it
    "not sampled": goes_on(f"{GIVEN[:-2]}00", flags="00"),
    "a random id": goes_on(f"{GIVEN[:-2]}02", flags="02") + goes_on(f"{GIVEN[:-2]}03", flags="03"),
    "flags that have no meaning": [
        *goes_on(f"{GIVEN[:-2]}ff", flags="03"),
        *goes_on(f"{GIVEN[:-2]}f4", f"{GIVEN[:-2]}08", flags="00"),
    ],
    # tracestate
    "a state without a trace": [Row((("tracestate", "a=1"),), goes_on=False)],
    "a state": kept("a=1,b=2"),
    "another name than tracestate": [
        Row((("traceparent", GIVEN), (name, "a=1"))) for name in ("trace-state", "trace.state")
    ],
    "the state's name in other cases": [
        Row((("traceparent", GIVEN), (name, "a=1")), state="a=1")
        for name in ("TraceState", "TRACESTATE")
    ],
    "an empty state": [
        state("", passed=None), state("a=1", "", passed="a=1"), state("", "a=1", passed="a=1"),
        state(" , ", passed=None),
    ],
    "several headers": [state("a=1,b=2", "c=3", "d=4,e=5", passed="a=1,b=2,c=3,d=4,e=5")],
    "a key twice": [*kept("a=1,a=1", "a=1,a=2"), state("a=1", "a=2", passed="a=1,a=2")],
    "every character that may be": kept(
        "a0_-*/=1", "0a@b*/-_9=1", "a=" + "".join(map(chr, range(0x20, 0x7F))).replace(
            ",", "").replace("=", "") + ".",
    ),
    "white space around members": [
        state("a=1 \t , \t b=2, \t c=3", passed="a=1,b=2,c=3"),
        state(" a=1", passed="a=1"), state("a=1\t", passed="a=1"), state("\ta=1 \t", passed="a=1"),
    ],
    "keys that are none": dropped("a =1", "A=1", "a.b=1", "=1", "a", "a=1,,B=2"),
    "vendors' keys that are none": dropped("a@=1", "@a=1", "a@@b=1", "a@b@c=1", "a@0=1"),
    "as many members as there may be": kept(",".join(MEMBERS[:32])),
    "one member too many": [
        *dropped(",".join(MEMBERS)),
        state(",".join(MEMBERS[:20]), ",".join(MEMBERS[20:]), passed=None),
    ],
    "keys as long as they may be": kept(f"a{KEY}=1", f"a{KEY[:240]}@b{KEY[:13]}=1"),
    "keys that are too long": dropped(
        f"a{KEY}z=1", f"a{KEY[:241]}@b=1", f"a@b{KEY[:14]}=1"
    ),
    "values that are none": dropped("a=b=c", "a=,b=3", "a=\x80", f"a={'v' * 257}"),
    "values as long as they may be": kept(f"a={'v' * 256}"),
}  # fmt: skip


@pytest.fixture(scope="module", params=EDITIONS)
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EchoGateway]:
    with echo_gateway(tmp_path_factory.mktemp("traces"), **EDITIONS[request.param]) as one:
        yield one


def plain(value: str) -> str:
    """A list without its empty members and white space, which mean nothing."""
    members = (one.strip(" \t") for one in value.split(","))
    return ",".join(one for one in members if one)


@pytest.mark.parametrize("what", CASES)
def test_a_trace_goes_on_exactly_if_the_standard_says_so(gateway: EchoGateway, what: str) -> None:
    for row in CASES[what]:
        heard = headers_of(gateway.heard(*row.sent))
        (passed,) = heard["traceparent"]
        found = PASSED.fullmatch(passed)
        assert found, passed
        assert (found[1] == TRACE) is row.goes_on, row
        assert found[2] != PARENT
        assert found[3] == row.flags, row
        states = [plain(one) for one in heard.get("tracestate", [])]
        assert states == ([plain(row.state)] if row.state else []), row


def test_requests_of_one_client_have_traces_of_their_own(gateway: EchoGateway) -> None:
    sent: list[Headers] = [(), (("traceparent", "none"),), (("traceparent", GIVEN),)]
    for headers in sent:
        passed = [headers_of(gateway.heard(*headers))["traceparent"][0] for _ in range(3)]
        traces, parents = {one[3:35] for one in passed}, {one[36:52] for one in passed}
        assert len(parents) == 3
        assert traces == {TRACE} if headers and headers[0][1] == GIVEN else len(traces) == 3
