"""From evidence to a verdict, and to the sentence that explains it.

The candidate *fails* as soon as one metric is worse than allowed; the chance that this ever
happens to one that is not worse is at most ``alpha``, split over the metrics: half of it is
for the text, and the other half is shared by errors and latency. It *passes* a step if all
metrics are shown to be no worse than allowed, by evidence of this step alone.

For that each step asks for the level sqrt(alpha): a candidate that is worse than allowed passes
two steps with a probability of at most alpha, so it does not get beyond the second one. A
rollout of one step asks for alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmlab.rollout.evidence import Bets, Count, Evidence
from llmlab.rollout.state import Finding, Kind, Outcome, Rollout, Rules, Verdict

ENOUGH = 1e6  # wealth whose digits tell nobody anything


@dataclass(frozen=True)
class _Metric:
    """What answers are like in one respect.

    Args:
        of: the share of answers that are so, and the number of answers that were looked at.
        before: 1 or 0 for the newest answers of the base.
        what: which answers those are, after their number.
    """

    name: str
    bets: Bets
    of: Callable[[Count], tuple[float, int]]
    before: Sequence[float]
    what: str = ""


def fail_levels(rules: Rules) -> tuple[float, float]:
    """The level for each of errors and latency, and that for the text."""
    if not rules.text_gate:
        return rules.alpha / 2, 0.0
    return rules.alpha / 4, rules.alpha / 2


def pass_level(rollout: Rollout) -> float:
    return float(rollout.rules.alpha ** (1 / min(2, rollout.last_step)))


def judge(rollout: Rollout, evidence: Evidence, text: Finding | None) -> Verdict:
    """What the evidence says now.

    Args:
        text: what is known of the texts; None if the rollout does not judge them.
    """
    shown = _difference if evidence.compares else _finding
    found = [shown(rollout, evidence, metric) for metric in _metrics(rollout, evidence)]
    found += [text] if text else []
    samples = evidence.tested.step.answers
    outcome, reason = _summed_up(found, samples, evidence.tested_name)
    return Verdict(outcome, reason, tuple(found), samples)


def _metrics(rollout: Rollout, evidence: Evidence) -> Iterator[_Metric]:
    base = evidence.base
    yield _Metric(
        "errors", evidence.errors, lambda count: (count.error_rate, count.answers), base.errors
    )
    limit = evidence.limit(rollout.rules.latency_ratio)
    what = "" if limit is None else f" slower than {limit:.2f} s"
    yield _Metric(
        "latency", evidence.latency, lambda count: (count.slow_rate, count.timed), base.slow, what
    )


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
    bets, rules = metric.bets, rollout.rules
    level, needed = fail_levels(rules)[0], pass_level(rollout)
    worse, as_good = bets.worse.value, bets.as_good.value
    answers, by = evidence.tested.step.answers, f"{100 * bets.worse.bound:g} points above"
    failed = bets.worse.reached(level)
    if failed:
        outcome, told = Outcome.FAIL, f"more than {by}: wealth {_w(worse)} > {_w(1 / level)}"
    elif answers < rules.min_samples:
        outcome, told = Outcome.INCONCLUSIVE, f"fewer than {rules.min_samples} answers"
    elif bets.as_good.reached(needed):
        outcome, told = Outcome.PASS, f"less than {by}: wealth {_w(as_good)} > {_w(1 / needed)}"
    else:
        outcome = Outcome.INCONCLUSIVE
        told = (
            f"not decided: wealth {_w(as_good)} of {_w(1 / needed)} to pass, "
            f"{_w(worse)} of {_w(1 / level)} to fail"
        )
    # What speaks against it is of the whole rollout, what speaks for it of this step.
    tested, base = ((one.total if failed else one.step) for one in (evidence.tested, evidence.base))
    (rate, n), (other, m) = metric.of(tested), metric.of(base)
    against = _of(other, m)
    if rollout.alone and metric.before:
        other, m = sum(metric.before) / len(metric.before), len(metric.before)
        against = f"{_rate(other)} of the last {m} before this step"
    figures = {
        "candidate": rate, "candidate_n": n, "stable": other, "stable_n": m,
        "margin": bets.worse.bound, "fail_wealth": worse, "fail_at": 1 / level,
        "pass_wealth": as_good, "pass_at": 1 / needed, **_quantiles(evidence, metric),
    }  # fmt: skip
    probes = _probes(tested, rollout.kind) if metric.name == "errors" else ""
    reason = (
        f"{metric.name}: {_of(rate, n)}{probes}{metric.what if n else ''} against {against}, {told}"
    )
    if not n + m:
        reason = f"{metric.name}: no answer yet, {rules.min_samples} are needed"
    return Finding(metric.name, outcome, reason, figures)


def _difference(rollout: Rollout, evidence: Evidence, metric: _Metric) -> Finding:
    """For ab: whether A and B differ at all, in either direction, at any time."""
    (rate_a, n_a), (rate_b, n_b) = metric.of(evidence.base.total), metric.of(evidence.tested.total)
    p = min(1.0, 2 / max(metric.bets.worse.value, metric.bets.as_good.value))
    told = "they differ" if p <= rollout.rules.alpha else "no difference is shown"
    reason = (
        f"{metric.name}: {evidence.base_name} {_rate(rate_a)} of {n_a}{metric.what}, "
        f"{evidence.tested_name} {_rate(rate_b)} of {n_b}: {told} (p = {p:.2g})"
    )
    figures = {"a": rate_a, "a_n": n_a, "b": rate_b, "b_n": n_b, "p": p}
    return Finding(
        metric.name, Outcome.INCONCLUSIVE, reason, {**figures, **_quantiles(evidence, metric)}
    )


def _quantiles(evidence: Evidence, metric: _Metric) -> dict[str, float]:
    if metric.name != "latency":
        return {}
    found = {
        f"{who}_p{round(100 * share)}": arm.quantile(share)
        for who, arm in (("candidate", evidence.tested), ("stable", evidence.base))
        for share in (0.5, 0.95)
    }
    return {name: value for name, value in found.items() if value is not None}


def _probes(count: Count, kind: Kind) -> str:
    what = "copies of requests" if kind is Kind.SHADOW else "probes"
    return f" ({count.probes} of them {what})" if count.probes else ""


def _of(share: float, answers: int) -> str:
    return f"{_rate(share)} of {answers}" if answers else "no answer yet"


def _rate(share: float) -> str:
    return f"{100 * share:.1f} %"


def _w(wealth: float) -> str:
    if wealth >= ENOUGH:
        return "10⁶+"
    return f"{wealth:.1f}" if wealth < 10 else f"{wealth:.0f}"
