"""The traffic that a rollout wants, phase by phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmlab.rollout.machine import Abort, Deployed, Promote, Settled, step
from llmlab.rollout.routes import traffic_of
from llmlab.rollout.state import Kind, Phase, Version
from llmlab.traffic import Deployed as Beside
from llmlab.traffic import Flag, Match, Shadow, Share, Split, Traffic
from tests.rollouts import at, rollout
from tests.summarizing import route_of, summarizing

OURS = Beside("tuned-2", "tuned:2", rollout=1)


def test_while_it_starts_the_candidate_runs_and_gets_nothing() -> None:
    wanted = traffic_of(rollout(), Traffic())
    assert wanted == summarizing(deployments=(OURS,), rollout=1)


def test_a_canary_splits_by_subject_with_a_salt_of_its_own() -> None:
    wanted = route_of(traffic_of(at(Phase.PROGRESSING), Traffic(deployments=(OURS,))))
    assert wanted.split == Split((Share("tuned-2", 25),), "subject", "rollout-1")
    assert wanted.weights("base") == {"tuned-2": 25, "base": 75}
    assert (wanted.rollout, wanted.step) == (1, 2)


def test_raising_a_step_changes_the_share_alone_so_nobody_is_moved_back() -> None:
    before = traffic_of(at(Phase.PROGRESSING), Traffic(deployments=(OURS,)))
    after = traffic_of(step(at(Phase.PROGRESSING), Promote(), 0), before)
    split = replace(route_of(before).split, shares=(Share("tuned-2", 50),))  # type: ignore[type-var]
    assert route_of(after).split == split


def test_a_promoted_candidate_is_stable_and_what_was_stable_is_kept_without_traffic() -> None:
    one = at(Phase.COMPLETING, stable=Version("tuned-1", "tuned:1"), stable_before="tuned-1")
    wanted = traffic_of(
        one, summarizing(stable="tuned-1", deployments=(Beside("tuned-1", "tuned:1"), OURS))
    )
    assert route_of(wanted).stable == "tuned-2"
    assert route_of(wanted).weights("base") == {"tuned-2": 100}
    assert [kept.name for kept in wanted.deployments] == ["tuned-1", "tuned-2"]


def test_a_promotion_ends_what_the_one_before_had_kept() -> None:
    older = Beside("tuned-1", "tuned:1", rollout=7)
    one = at(Phase.PROGRESSING, retired="tuned-1")
    before = traffic_of(one, Traffic(deployments=(older, OURS)))
    assert older in before.deployments
    after = traffic_of(step(one, Promote(full=True), 0), before)
    assert after.deployments == (OURS,)


def test_what_a_flag_or_a_match_leads_to_is_not_ended() -> None:
    flag, match = Flag("beta", deployment="tuned-1"), Match("cookie", "new", "1", "tuned-2")
    older = Beside("tuned-1", "tuned:1", rollout=7)
    before = summarizing(deployments=(older, OURS), flags=(flag,), matches=(match,))
    promoted = traffic_of(at(Phase.COMPLETING, retired="tuned-1"), before)
    assert older in promoted.deployments
    aborted = traffic_of(at(Phase.ABORTING), before)
    assert OURS in aborted.deployments


def test_an_aborted_candidate_has_no_traffic_and_ends_if_the_rollout_had_started_it() -> None:
    trying = traffic_of(at(Phase.PROGRESSING), Traffic(deployments=(OURS,)))
    assert traffic_of(at(Phase.ABORTING), trying) == summarizing(rollout=1)
    persons = at(Phase.ABORTING, started=())
    mine = Beside("tuned-2", "tuned:2")
    assert traffic_of(persons, replace(trying, deployments=(mine,))).deployments == (mine,)


def test_an_abort_after_the_promotion_gives_the_traffic_back() -> None:
    one = at(Phase.COMPLETING, stable=Version("tuned-1", "tuned:1"), stable_before="tuned-1")
    first = summarizing(stable="tuned-1", deployments=(Beside("tuned-1", "tuned:1"), OURS))
    after = traffic_of(step(one, Abort(), 0), traffic_of(one, first))
    assert route_of(after).stable == "tuned-1" and after.deployments == first.deployments[:1]


def test_the_stable_model_of_lab_toml_is_wanted_by_no_name() -> None:
    one = rollout(Kind.UNDO, stable=Version("tuned-2", "tuned:2"), stable_before="tuned-2",
                  arms=(Version("base", "base"),), started=())  # fmt: skip
    one = step(one, Deployed(), 0)
    wanted = traffic_of(one, summarizing(stable="tuned-2", deployments=(OURS,)))
    assert wanted == summarizing(deployments=(OURS,), rollout=1)


def test_undo_starts_what_had_the_traffic_if_it_is_gone() -> None:
    one = rollout(Kind.UNDO, stable=Version("base", "base"))
    assert traffic_of(one, Traffic()).deployments == (OURS,)
    back = traffic_of(step(one, Deployed(), 0), traffic_of(one, Traffic()))
    assert route_of(back).weights("base") == {"tuned-2": 100} and back.deployments == (OURS,)


def test_blue_green_switches_at_once() -> None:
    one = at(Phase.PROGRESSING, Kind.BLUEGREEN)
    before = traffic_of(one, Traffic(deployments=(OURS,)))
    assert route_of(before).weights("base") == {"base": 100}
    assert route_of(before).split is None
    after = traffic_of(step(one, Promote(), 0), before)
    assert route_of(after).weights("base") == {"tuned-2": 100}


@pytest.mark.parametrize("kind", [one for one in Kind if one is not Kind.UNDO])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_route_says_at_which_step_it_is_for_as_long_as_it_is_tried(
    kind: Kind, phase: Phase
) -> None:
    """By that alone a rollout that goes on is told from one that is over, whose number stays."""
    one = at(phase, kind)
    route = route_of(traffic_of(one, Traffic(deployments=(OURS,))))
    assert route.rollout == 1
    assert bool(route.step) == (phase in (Phase.PROGRESSING, Phase.PAUSED))


def test_a_and_b_share_all_of_it() -> None:
    one = at(Phase.PROGRESSING, Kind.AB, by="cookie:group", percent=30.0)
    wanted = route_of(traffic_of(one, Traffic(deployments=(OURS,))))
    split = Split((Share("base", 30), Share("tuned-2", 70)), "cookie:group", "rollout-1")
    assert wanted.split == split
    assert wanted.weights("base") == {"base": 30, "tuned-2": 70}


def test_the_one_of_a_and_b_that_lost_ends_if_the_rollout_had_started_it() -> None:
    one = at(Phase.PROGRESSING, Kind.AB)
    before = traffic_of(one, Traffic(deployments=(OURS,)))
    assert traffic_of(step(one, Promote(arm="base"), 0), before).deployments == ()
    assert traffic_of(step(one, Promote(arm="tuned-2"), 0), before).deployments == (OURS,)


def test_a_shadow_gets_copies_and_never_traffic() -> None:
    one = at(Phase.PROGRESSING, Kind.SHADOW)
    wanted = traffic_of(one, Traffic(deployments=(OURS,)))
    assert route_of(wanted).shadow == Shadow("tuned-2", 20)
    assert route_of(wanted).weights("base") == {"base": 100}
    done = traffic_of(step(at(Phase.COMPLETING, Kind.SHADOW), Settled(), 0), wanted)
    assert done == summarizing(rollout=1)
