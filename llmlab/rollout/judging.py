"""From evidence to a verdict, and to the sentence that explains it.

The candidate *fails* as soon as one metric is worse than allowed; the chance that this ever
happens to one that is not worse is at most ``alpha``, split over the metrics: two
fifths each for errors and texts, and one for latency; where it is judged as well how answers come
and end, a quarter for that, and three quarters in the same parts; where texts of clients are
paired, pairs have half of what is for texts. It *passes* a step if all metrics are shown to be no
worse than allowed, by evidence of this step alone. What seldom shows in the stable version's
answers, as an answer in JSON where hardly anybody asks for one, can speak against a candidate and
need not speak for it; nor need pairs, unless they are required.

For that each of n steps asks for the level alpha^(1/n): a candidate that is worse than allowed
passes all of them with a probability of at most alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmlab.rollout.evidence import EQUAL, Evidence
from llmlab.rollout.observed import SELDOM, Bets, Count, Moved
from llmlab.rollout.pairs import findings as of_pairs
from llmlab.rollout.respects import Respect
from llmlab.rollout.speed import FEWEST, Condition
from llmlab.rollout.state import Finding, Kind, Outcome, Rollout, Rules, Verdict

ENOUGH = 1e6  # wealth whose digits tell nobody anything
TOLD = (0.5, 0.95)  # quantiles of the latency, for people
HEAVY = 3  # subjects, which one wants to know about if they bring more than half


@dataclass(frozen=True)
class _Metric:
    """What answers are like in one respect.

    Args:
        of: the share of answers that are so, and the number of answers that were looked at.
        level: at which it fails.
        bound: what the candidate's share may be at most, in words.
        margin: of the bound, as a share.
        condition: on the latency, or on other seconds.
        what: which answers those are, after their number.
        unjudged: why this step need not say anything about it; "" where it has to.
    """

    name: str
    bets: Bets
    of: Callable[[Count], tuple[float, int]]
    level: float
    bound: str
    margin: float
    condition: Condition | None = None
    what: str = ""
    unjudged: str = ""


@dataclass(frozen=True)
class Levels:
    """At which level each metric fails; together ``alpha``. ``answers``: how these come and end;
    ``pairs``: what both make of the same texts of clients."""

    errors: float
    latency: float
    text: float
    answers: float = 0.0
    pairs: float = 0.0


def fail_levels(rules: Rules) -> Levels:
    answers = rules.alpha / 4 if rules.answer_gate else 0.0
    fifth = (rules.alpha - answers) / 5
    pairs = fifth if rules.pairs else 0.0
    return Levels(2 * fifth, fifth, 2 * fifth - pairs, answers, pairs)


def pass_level(rollout: Rollout) -> float:
    return float(rollout.rules.alpha ** (1 / rollout.last_step))


def judge(rollout: Rollout, evidence: Evidence, text: Finding | None) -> Verdict:
    """What the evidence says now.

    Args:
        text: what is known of the texts; None if the rollout does not judge them.
    """
    shown = _difference if evidence.compares else _finding
    found = [shown(rollout, evidence, metric) for metric in _metrics(rollout, evidence)]
    found += [text] if text else []
    level, needed = fail_levels(rollout.rules).pairs, pass_level(rollout)
    found += of_pairs(rollout, evidence.pairs, level, needed)
    found += _refused(evidence)
    samples = evidence.tested.step.answers
    outcome, reason = _summed_up(found, samples, evidence.tested_name)
    mine, theirs = evidence.tested.step, evidence.base.step
    worse = bool(mine.answers) and mine.error_rate > theirs.error_rate + evidence.margin
    above = worse or bool(evidence.broken_for)
    return Verdict(outcome, reason, tuple(found), samples, evidence.broke, above)


def _refused(evidence: Evidence) -> list[Finding]:
    """Told beside the other's, and not judged: whoever has a token can send what is wrong."""
    mine, theirs = evidence.tested.step, evidence.base.step
    if not mine.refused and not theirs.refused:
        return []
    asked = mine.requests + mine.refused, theirs.requests + theirs.refused
    reason = (
        f"refused: {_of(mine.refused_rate, asked[0])} against {_of(theirs.refused_rate, asked[1])}"
        ", not judged: the requests were found wrong"
    )
    figures = {
        "candidate": mine.refused_rate, "candidate_n": asked[0],
        "stable": theirs.refused_rate, "stable_n": asked[1], "unjudged": 1.0,
    }  # fmt: skip
    return [Finding("refused", Outcome.PASS, reason, figures)]


def _metrics(rollout: Rollout, evidence: Evidence) -> Iterator[_Metric]:
    levels = fail_levels(rollout.rules)
    yield _Metric(
        "errors", evidence.errors, lambda count: (count.error_rate, count.answers),
        levels.errors, f"{_points(evidence.margin)} above", evidence.margin,
    )  # fmt: skip
    for number, one in enumerate(evidence.conditions):
        limit = evidence.limit(number)
        yield _Metric(
            f"latency p{100 * one.quantile:g}", evidence.speed[number],
            lambda count, number=number: (count.slow_rate(number), count.timed),  # type: ignore[misc]
            levels.latency / len(evidence.conditions), f"{100 * one.allowed:g} %", one.allowed,
            one, "" if limit is None else f" slower than {_seconds(limit)}",
            _more_load(evidence, one),
        )  # fmt: skip
    for respect in evidence.respects:
        yield _of_respect(evidence, respect, levels.answers / len(evidence.respects))


def _of_respect(evidence: Evidence, respect: Respect, level: float) -> _Metric:
    bound, limit = respect.bound, respect.limit
    name, condition = bound.name, bound.condition
    asked = evidence.base.total.requests
    seldom = asked >= FEWEST and respect.base_told < SELDOM * asked
    unjudged = f"not judged: fewer than {100 * SELDOM:g} % of the answers tell" if seldom else ""
    if condition:
        what = {"gap": "longer"}.get(bound.respect, "later")
        return _Metric(
            name, respect.bets, lambda count: count.tells(name), level,
            f"{100 * condition.allowed:g} %", condition.allowed, condition,
            "" if limit is None else f" {what} than {_seconds(limit)}",
            unjudged or _more_load(evidence, condition),
        )  # fmt: skip
    margin = 0.0 if evidence.compares else bound.margin
    return _Metric(
        name, respect.bets, lambda count: count.tells(name), level, f"{_points(margin)} above",
        margin, unjudged=unjudged,
    )  # fmt: skip


def _more_load(evidence: Evidence, condition: Condition) -> str:
    judged = evidence.equal or not condition.ratio
    return "" if judged else f"not judged above {EQUAL:g} %, where it has more load"


def _summed_up(found: Sequence[Finding], samples: int, name: str) -> tuple[Outcome, str]:
    if failed := [one for one in found if one.outcome is Outcome.FAIL]:
        return Outcome.FAIL, "; ".join(one.reason for one in failed)
    if not samples:
        return Outcome.NONE, f"no answer of {name} in this step, and no traffic never promotes"
    if undecided := [one for one in found if one.outcome is not Outcome.PASS]:
        return Outcome.INCONCLUSIVE, "; ".join(one.reason for one in undecided)
    return Outcome.PASS, "; ".join(one.reason for one in found)


def _finding(rollout: Rollout, evidence: Evidence, metric: _Metric) -> Finding:
    """Whether the candidate is worse than allowed, or shown not to be."""
    bets, rules, level = metric.bets, rollout.rules, metric.level
    needed = pass_level(rollout)
    worse, as_good = bets.worse.value, bets.as_good.value
    answers, by = evidence.tested.step.answers, metric.bound
    failed = bets.worse.reached(level)
    if failed:
        outcome, told = Outcome.FAIL, f"more than {by}: evidence {_w(worse)} > {_w(1 / level)}"
    elif metric.unjudged:
        outcome, told = Outcome.PASS, metric.unjudged
    elif answers < rules.min_samples:
        outcome, told = Outcome.INCONCLUSIVE, f"fewer than {rules.min_samples} answers"
    elif metric.bets is evidence.errors and (few := evidence.broken_for):
        outcome, told = Outcome.INCONCLUSIVE, _of_few(few)
    elif bets.as_good.reached(needed):
        outcome, told = Outcome.PASS, f"less than {by}: evidence {_w(as_good)} > {_w(1 / needed)}"
    else:
        outcome = Outcome.INCONCLUSIVE
        told = (
            f"not decided: evidence {_w(as_good)} of {_w(1 / needed)} that it passes, "
            f"{_w(worse)} of {_w(1 / level)} that it fails{_few(evidence.tested.subjects)}"
        )
    # What speaks against it is of the whole rollout, what speaks for it of this step.
    tested, base = ((one.total if failed else one.step) for one in (evidence.tested, evidence.base))
    (rate, n), (other, m) = metric.of(tested), metric.of(base)
    figures = {
        "candidate": rate, "candidate_n": n, "stable": other, "stable_n": m,
        "margin": metric.margin,
        "fail_wealth": worse, "fail_at": 1 / level,
        "pass_wealth": as_good, "pass_at": 1 / needed, **_quantiles(evidence, metric),
    }  # fmt: skip
    if metric.unjudged and not failed:
        figures["unjudged"] = 1.0
    probes = _probes(tested, rollout.kind) if metric.bets is evidence.errors else ""
    reason = (
        f"{metric.name}: {_of(rate, n)}{probes}{metric.what if n else ''} against {_of(other, m)}, "
        f"{told}"
    )
    if not n + m and not metric.unjudged:
        reason = f"{metric.name}: no answer yet, {_needed(rules, metric)} are needed"
    return Finding(metric.name, outcome, reason, figures)


def _needed(rules: Rules, metric: _Metric) -> int:
    return max(rules.min_samples, FEWEST if metric.condition else 0)


def _of_few(broken_for: Sequence[Moved]) -> str:
    """Without a name: verdicts are kept for good."""
    shown = ", ".join(f"{one.errors} of {one.answers}" for one in broken_for[:HEAVY])
    return (
        f"but {len(broken_for)} subject{'s' * (len(broken_for) != 1)} "
        f"got errors which they did not get before: {shown}"
    )


def _few(subjects: Mapping[str, int]) -> str:
    """That few bring most of the answers, so that there is little evidence in them."""
    answers, most = sum(subjects.values()), sorted(subjects.values())[-HEAVY:]
    if not answers or sum(most) <= answers / 2:
        return ""
    return (
        f"; {len(subjects)} subject{'s' * (len(subjects) != 1)}, {len(most)} of them bring "
        f"{100 * sum(most) / answers:.0f} %"
    )


def _difference(rollout: Rollout, evidence: Evidence, metric: _Metric) -> Finding:
    """For ab: whether A and B differ at all, in either direction, at any time. Each metric has its
    own level, so that of versions which do not differ at most ``alpha`` are told apart in any."""
    (rate_a, n_a), (rate_b, n_b) = metric.of(evidence.base.total), metric.of(evidence.tested.total)
    p = min(1.0, 2 / max(metric.bets.worse.value, metric.bets.as_good.value))
    told = "they differ" if p <= metric.level else "no difference is shown"
    reason = (
        f"{metric.name}: {evidence.base_name} {_rate(rate_a)} of {n_a}{metric.what}, "
        f"{evidence.tested_name} {_rate(rate_b)} of {n_b}: {told} "
        f"(p = {p:.2g}, to be at most {metric.level:.2g})"
    )
    figures = {
        "a": rate_a, "a_n": n_a, "b": rate_b, "b_n": n_b, "p": p, "level": metric.level,
    }  # fmt: skip
    return Finding(
        metric.name, Outcome.INCONCLUSIVE, reason, {**figures, **_quantiles(evidence, metric)}
    )


def _quantiles(evidence: Evidence, metric: _Metric) -> dict[str, float]:
    if not any(metric.bets is one for one in evidence.speed):
        return {}
    found = {
        f"{who}_p{round(100 * share)}": value
        for who, arm in (("candidate", evidence.tested), ("stable", evidence.base))
        for share, value in zip(TOLD, arm.quantiles(TOLD), strict=True)
    }
    return {name: value for name, value in found.items() if value is not None}


def _probes(count: Count, kind: Kind) -> str:
    what = "copies of requests" if kind is Kind.SHADOW else "probes"
    return f" ({count.probes} of them {what})" if count.probes else ""


def _of(share: float, answers: int) -> str:
    return f"{_rate(share)} of {answers}" if answers else "no answer yet"


def _rate(share: float) -> str:
    return f"{100 * share:.1f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def _w(wealth: float) -> str:
    if wealth >= ENOUGH:
        return "10⁶+"
    return f"{wealth:.1f}" if wealth < 10 else f"{wealth:.0f}"


def _points(share: float) -> str:
    return f"{100 * share:g} point{'s' * (share != 0.01)}"
