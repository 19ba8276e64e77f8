"""What the gateway tells the API beside a request: decoding presets, flags, trace and revision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmlab.runtimes import Generation, Strategy
from llmlab.runtimes.extractive import identity
from llmlab.service.preset import Preset, parse_flags
from llmlab.service.schemas import SummarizeRequest
from tests.api import SENTENCE, TEXTRANK, Api

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(TEXTRANK).start().until_ready()


def ask(api: Api, text: str, decoding: str, **parameters: Any) -> Any:
    headers = {"X-Decoding": decoding}
    return api.request("POST", "/summarize/", json={"text": text, **parameters}, headers=headers)


def words(response: Any) -> int:
    assert response.status_code == 200, response.text
    return int(response.json()["usage"]["output_tokens"])


# --- Decoding ------------------------------------------------------------------


def test_a_preset_decides_what_the_request_does_not_say(api: Api, article: str) -> None:
    assert words(ask(api, article, "max_length=7,min_length=0")) <= 7
    assert words(ask(api, article, "")) > 7


def test_what_the_request_says_wins(api: Api, article: str) -> None:
    assert words(ask(api, article, "max_length=7", max_length=40, min_length=20)) >= 20


def test_a_preset_is_part_of_what_the_cache_goes_by(api: Api, article: str) -> None:
    text = f"{article} For the cache."
    sources = [
        ask(api, text, decoding).headers["x-cache"]
        for decoding in ("max_length=9", "max_length=9", "max_length=8", "")
    ]
    assert sources == ["miss", "hit", "miss", "miss"]


@pytest.mark.parametrize(
    ("preset", "request_says", "effective"),
    [
        ("", {}, Generation(None, None, Strategy.AUTO)),
        ("max_length=60", {}, Generation(60, None, Strategy.AUTO)),
        ("strategy=truncate", {}, Generation(None, None, Strategy.TRUNCATE)),
        ("strategy=truncate", {"strategy": "auto"}, Generation(None, None, Strategy.AUTO)),
        ("max_length=60,min_length=20", {"max_length": 10}, Generation(10, 10, Strategy.AUTO)),
        ("max_length=60", {"min_length": 80}, Generation(80, 80, Strategy.AUTO)),
        ("min_length=20", {"min_length": 0}, Generation(None, 0, Strategy.AUTO)),
    ],
)
def test_a_length_of_the_preset_that_contradicts_the_request_yields(
    preset: str, request_says: dict[str, Any], effective: Generation
) -> None:
    request = SummarizeRequest.model_validate({"text": "A text.", **request_says})
    assert Preset.parse(preset).applied_to(request) == effective


MALFORMED = [
    "max_length", "max_length=", "max_length=0", "max_length=5000", "max_length=6,max_length=7",
    "max_length=-1", "max_length=1e2", "max_length=٣", "min_length=9,max_length=8", "beams=4",
    "strategy=best", "max_length=60,", "max_length = 60", "MAX_LENGTH=60", ",", "a" * 9000,
]  # fmt: skip


@pytest.mark.parametrize("header", MALFORMED)
def test_a_malformed_preset_is_no_preset(header: str) -> None:
    with pytest.raises(ValueError):
        Preset.parse(header)


def test_a_malformed_preset_is_ignored_counted_and_logged_once(api: Api, article: str) -> None:
    before = api.metric("llmlab_headers_ignored_total", header="X-Decoding")
    for _ in range(3):
        assert words(ask(api, article, "max_length=none")) > 7
    assert api.metric("llmlab_headers_ignored_total", header="X-Decoding") == before + 3
    assert api.stdout.count("max_length=none") == 1
    assert "Traceback" not in api.stdout


# --- Flags ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "flags"),
    [({}, {}), ({"X-Flags": ""}, {}),
     ({"X-Flags": "short=on,new-model=off"}, {"short": True, "new-model": False})],
)  # fmt: skip
def test_whoever_asks_is_told_the_flags(
    api: Api, header: dict[str, str], flags: dict[str, bool]
) -> None:
    response = api.get("/flags", headers=header)
    assert response.json() == {"flags": flags}
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "header", ["a", "a=", "a=yes", "a=on,a=off", "A=on", "a=on,", "-a=on", "a=on b=on", "ä=on"]
)
def test_malformed_flags_are_none(api: Api, header: str) -> None:
    with pytest.raises(ValueError):
        parse_flags(header)
    before = api.metric("llmlab_headers_ignored_total", header="X-Flags")
    response = api.get("/flags", headers={"X-Flags": header.encode()})
    assert (response.status_code, response.json()) == (200, {"flags": {}})
    assert api.metric("llmlab_headers_ignored_total", header="X-Flags") == before + 1


def test_the_api_describes_its_flags(api: Api) -> None:
    operation = api.get("/openapi.json").json()["paths"]["/flags"]["get"]
    assert {"200", "401", "429"} <= set(operation["responses"])


# --- The log -------------------------------------------------------------------


def logged(api: Api, request_id: str, **headers: str) -> dict[str, Any]:
    api.request(
        "POST", "/summarize/", json={"text": SENTENCE},
        headers={"X-Request-ID": request_id, **headers},
    )  # fmt: skip
    (line,) = api.logged(request_id)
    return line


def test_a_line_of_the_log_says_which_deployment_and_model_it_was(api: Api) -> None:
    line = logged(api, "who-was-it")
    assert (line["deployment"], line["model_id"]) == ("textrank-blue", identity())
    assert line.keys().isdisjoint({"trace_id", "revision"})


def test_trace_id_and_revision_of_the_gateway_are_logged(api: Api) -> None:
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Revision": "12"}
    line = logged(api, "traced", **headers)
    assert (line["trace_id"], line["revision"]) == (TRACE, 12)


@pytest.mark.parametrize(
    "traceparent",
    ["", TRACE, f"00-{TRACE.upper()}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01",
     f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-00f067aa0ba902b7-01"],
)  # fmt: skip
def test_a_traceparent_that_is_none_is_not_logged(api: Api, traceparent: str) -> None:
    line = logged(api, f"bad-{abs(hash(traceparent))}", traceparent=traceparent)
    assert "trace_id" not in line


def test_a_revision_that_is_no_number_is_not_logged(api: Api) -> None:
    assert "revision" not in logged(api, "no-number", **{"X-Revision": "1.5"})
