"""Which requests go where, as it is written down: today, and before there were several routes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmlab.traffic import (
    AS_CONFIGURED,
    Deployed,
    Flag,
    Match,
    Route,
    Shadow,
    Share,
    Split,
    Traffic,
)
from tests.summarizing import route_of, summarizing

# As an llmlab of before there were several routes has written it.
OF_ONE_ROUTE = {
    "deployments": [{"name": "tuned-2", "model": "tuned:2", "replicas": 1, "rollout": 3}],
    "stable": "tuned-1",
    "split": {"shares": [{"deployment": "tuned-2", "percent": 25.0}], "by": "subject",
              "salt": "rollout-3"},
    "matches": [{"kind": "header", "name": "X-Beta", "value": "yes", "deployment": "tuned-2"}],
    "shadow": {"deployment": "tuned-2", "percent": 5.0},
    "flags": [{"name": "beta", "percent": 10.0, "audience": [["sub", "ada"]], "deployment": "",
               "decoding": {"max_length": 20}}],
    "rollout": 3, "step": 2, "revision": 17,
}  # fmt: skip
AS_LAB_TOML_HAS_IT = {
    "deployments": [], "stable": "", "split": None, "matches": [], "shadow": None, "flags": [],
    "rollout": 0, "step": 0, "revision": 0,
}  # fmt: skip


def test_a_document_of_one_route_is_one_of_summarize() -> None:
    traffic = Traffic.parse(json.dumps(OF_ONE_ROUTE))
    assert traffic == Traffic(
        deployments=(Deployed("tuned-2", "tuned:2", rollout=3),),
        routes={
            "summarize": Route(
                stable="tuned-1",
                split=Split((Share("tuned-2", 25.0),), salt="rollout-3"),
                matches=(Match("header", "X-Beta", "yes", "tuned-2"),),
                shadow=Shadow("tuned-2", 5.0),
                rollout=3,
                step=2,
            )
        },
        flags=(Flag("beta", 10.0, (("sub", "ada"),), decoding={"max_length": 20}),),
        revision=17,
    )
    assert traffic.flags_of("summarize") == ()
    assert Traffic.parse(traffic.dump()) == traffic


def test_a_document_of_one_route_that_says_nothing_has_none() -> None:
    assert Traffic.parse(json.dumps(AS_LAB_TOML_HAS_IT)) == Traffic()
    assert Traffic.parse(json.dumps(AS_LAB_TOML_HAS_IT | {"revision": 4})) == Traffic(revision=4)


def test_a_deployment_that_is_called_routes_does_not_make_it_one_of_today() -> None:
    named = [{"name": "routes", "model": "base", "replicas": 1, "rollout": 0}]
    document = json.dumps(AS_LAB_TOML_HAS_IT | {"deployments": named, "stable": "routes"})
    traffic = Traffic.parse(document)
    assert traffic == summarizing(deployments=(Deployed("routes", "base"),), stable="routes")


@pytest.mark.parametrize(
    "document",
    ["", "{", "[]", "3", '"routes"', '{"routes": 3}', '{"routes": {"chat": {"stabel": "a"}}}',
     '{"routes": {}, "stable": "a"}', '{"split": 3}', '{"stable": ["a"]}'],
)  # fmt: skip
def test_what_is_no_such_document_is_refused(document: str) -> None:
    with pytest.raises(ValueError):
        Traffic.parse(document)


def test_a_route_changes_and_the_others_stay_as_they_are() -> None:
    first = Traffic(revision=3).with_route("chat", Route(stable="next"))
    both = first.with_route("summarize", Route(split=Split((Share("short", 10),))))
    assert both.route("chat") == Route(stable="next")
    assert both.targets() == {"next", "short"}
    assert both.with_route("summarize", AS_CONFIGURED) == first
    assert Traffic.parse(both.dump()) == both


def test_a_route_that_nobody_has_changed_is_as_lab_toml_has_it() -> None:
    assert Traffic().route("chat") is AS_CONFIGURED
    assert Traffic().route("chat").weights("smol") == {"smol": 100}
    assert Traffic(routes={"chat": Route(stable="next")}).route("chat").weights("smol") == {
        "next": 100
    }


def test_a_flag_leads_requests_of_its_route_alone() -> None:
    traffic = Traffic(flags=(
        Flag("a", deployment="one"), Flag("b", deployment="two", route="chat"), Flag("c"),
    ))  # fmt: skip
    assert [one.name for one in traffic.flags_of("summarize")] == ["a"]
    assert [one.name for one in traffic.flags_of("chat")] == ["b"]
    assert traffic.targets() == {"one", "two"}


def test_what_a_route_leads_to_is_a_target_whichever_way_it_does() -> None:
    route = Route(
        stable="a", split=Split((Share("b", 1),)), matches=(Match("cookie", "n", "v", "c"),),
        shadow=Shadow("d", 1),
    )  # fmt: skip
    assert route.targets() == set("abcd")
    assert replace(route, stable="").targets() == set("bcd")
    assert route_of(summarizing(stable="a")).targets() == {"a"}
