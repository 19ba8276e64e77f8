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

from collections.abc import Callable

from llmlab.rollout.evidence import Arm, Bets, Count, Evidence
from llmlab.rollout.state import Finding, Kind, Outcome, Rollout, Rules, Verdict


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
    found = (_errors(rollout, evidence), _latency(rollout, evidence), *((text,) if text else ()))
    samples = evidence.tested.step.answers
    outcome, reason = _summed_up(found, samples, evidence.tested_name)
    return Verdict(outcome, reason, found, samples)


def _summed_up(found: tuple[Finding, ...], samples: int, name: str) -> tuple[Outcome, str]:
    if failed := [one for one in found if one.outcome is Outcome.FAIL]:
        return Outcome.FAIL, "; ".join(one.reason for one in failed)
    if not samples:
        return Outcome.NONE, f"no answer of {name} in this step, and no traffic never promotes"
    if open_ := [one for one in found if one.outcome is not Outcome.PASS]:
        return Outcome.INCONCLUSIVE, "; ".join(one.reason for one in open_)
    return Outcome.PASS, "; ".join(one.reason for one in found)


def _errors(rollout: Rollout, evidence: Evidence) -> Finding:
    def shown(count: Count, arm: Arm) -> tuple[float, int]:
        del arm
        return count.error_rate, count.answers

    return _finding(rollout, evidence, evidence.errors, "errors", shown, "")


def _latency(rollout: Rollout, evidence: Evidence) -> Finding:
    def shown(count: Count, arm: Arm) -> tuple[float, int]:
        del arm
        return count.slow_rate, count.timed

    limit = evidence.limit(rollout.rules.latency_ratio)
    what = "" if limit is None else f" slower than {limit:.2f} s"
    return _finding(rollout, evidence, evidence.latency, "latency", shown, what)


Shown = Callable[[Count, Arm], tuple[float, int]]


def _finding(
    rollout: Rollout, evidence: Evidence, bets: Bets, metric: str, shown: Shown, what: str
) -> Finding:
    level = fail_levels(rollout.rules)[0]
    per_step = not evidence.compares
    tested, base = evidence.tested, evidence.base
    if rollout.kind is Kind.AB:
        return _difference(rollout, evidence, bets, metric, shown, what)
    failed = bets.worse.reached(level)
    of_step = per_step and not failed
    rate, n = shown(tested.step if of_step else tested.total, tested)
    other, m = shown(base.step if of_step else base.total, base)
    margin = bets.worse.bound
    compared = f"{metric}: {_rate(rate)} of {n}{what} against {_rate(other)} of {m}"
    compared += _probes(tested.step if of_step else tested.total)
    needed = pass_level(rollout)
    fewest = rollout.rules.min_samples
    if failed:
        outcome = Outcome.FAIL
        told = f"more than {_points(margin)} above: wealth {_w(bets.worse.value)} > {_w(1 / level)}"
    elif bets.as_good.reached(needed) and tested.step.answers >= fewest:
        outcome = Outcome.PASS
        told = (
            f"less than {_points(margin)} above: wealth {_w(bets.as_good.value)} > {_w(1 / needed)}"
        )
    else:
        outcome = Outcome.INCONCLUSIVE
        told = (
            f"{n} of at least {fewest} answers"
            if tested.step.answers < fewest
            else f"not decided: wealth {_w(bets.as_good.value)} of {_w(1 / needed)} to pass, "
            f"{_w(bets.worse.value)} of {_w(1 / level)} to fail"
        )
    figures = {
        "candidate": rate, "candidate_n": n, "stable": other, "stable_n": m, "margin": margin,
        "fail_wealth": bets.worse.value, "fail_at": 1 / level,
        "pass_wealth": bets.as_good.value, "pass_at": 1 / needed,
        **_quantiles(evidence, metric),
    }  # fmt: skip
    return Finding(metric, outcome, f"{compared}, {told}", figures)


def _difference(
    rollout: Rollout, evidence: Evidence, bets: Bets, metric: str, shown: Shown, what: str
) -> Finding:
    """For ab: whether A and B differ at all, in either direction, at any time."""
    a, b = evidence.base, evidence.tested
    (rate_a, n_a), (rate_b, n_b) = shown(a.total, a), shown(b.total, b)
    wealth = max(bets.worse.value, bets.as_good.value)
    p = min(1.0, 2 / wealth)
    differs = p <= rollout.rules.alpha
    compared = (
        f"{metric}: {evidence.base_name} {_rate(rate_a)} of {n_a}{what}, "
        f"{evidence.tested_name} {_rate(rate_b)} of {n_b}"
    )
    told = "they differ" if differs else "no difference is shown"
    figures = {
        "a": rate_a, "a_n": n_a, "b": rate_b, "b_n": n_b, "p": p, **_quantiles(evidence, metric)
    }  # fmt: skip
    return Finding(metric, Outcome.INCONCLUSIVE, f"{compared}: {told} (p = {p:.2g})", figures)


def _quantiles(evidence: Evidence, metric: str) -> dict[str, float]:
    if metric != "latency":
        return {}
    found = {
        f"{who}_p{round(100 * share)}": arm.quantile(share)
        for who, arm in (("candidate", evidence.tested), ("stable", evidence.base))
        for share in (0.5, 0.95)
    }
    return {name: value for name, value in found.items() if value is not None}


def _probes(count: Count) -> str:
    return f" ({count.probes} of them probes)" if count.probes else ""


def _rate(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(margin: float) -> str:
    return f"{100 * margin:g} points"


def _w(wealth: float) -> str:
    return f"{wealth:.1f}" if wealth < 10 else f"{min(wealth, 1e6):.0f}"
