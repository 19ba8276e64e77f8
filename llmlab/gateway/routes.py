"""lab/routes.conf: which deployment a request goes to, as a chain of maps.

NGINX evaluates the chain when the request is passed on, which is after its token was judged.
Each map holds one rule; its `default` is the next one. What comes out is RULE:DEPLOYMENT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count

from llmlab.errors import ConfigError
from llmlab.gateway.claims import claim_variable, used_claims
from llmlab.gateway.flags import flag_maps, flag_variable
from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.quoting import checked, exactly, percentage
from llmlab.gateway.shadow import shadow_maps
from llmlab.traffic import Match, Split, Traffic

# A split is by one of these: who asks, for NGINX and for Python alike (see Split.by).
SOMEONE = [
    "# Who a share keeps on one side: the subject, else the cookie llmlab, else the address.",
    'map $cookie_llmlab $lab_visitor { "" $remote_addr; default $cookie_llmlab; }',
    'map $lab_subject $lab_someone { "" $lab_visitor; default $lab_subject; }',
]


def routes(plan: GatewayPlan, claims: Callable[[list[str]], list[str]]) -> list[str]:
    """The lines of lab/routes.conf.

    Args:
        claims: lines that define ``claim_variable`` of the claims with these names; the
            editions of NGINX differ in how far claims can be trusted.

    Raises:
        ConfigError: the traffic names what NGINX or this lab does not have.
    """
    traffic = plan.traffic
    _refuse_unknown(plan)
    used = used_claims(traffic)
    lines = [f'map "" $lab_revision {{ default {traffic.revision}; }}', ""]
    if used:
        lines += [*claims(used), ""]
    if traffic.split or traffic.flags:
        lines += [*SOMEONE, ""]
    parts = [flag_maps(traffic.flags), _wishes(plan), _rules(plan), shadow_maps(traffic)]
    for part in parts:
        lines += [*part, ""] if part else []
    return lines[:-1]


def routable(conf: str, traffic: Traffic) -> str:
    """An nginx.conf, if it goes by lab/routes.conf as far as this traffic needs it.

    Raises:
        ConfigError: it does not; it was written for an earlier llmlab, or edited.
    """
    needs = {
        "$lab_target": bool(traffic.split or traffic.matches
                            or any(flag.deployment for flag in traffic.flags)),
        "$lab_flags": bool(traffic.flags),
        "lab/shadow.conf": traffic.shadow is not None,
        "$endpoint": traffic.shadow is not None,
    }  # fmt: skip
    for word, needed in needs.items():
        if needed and word not in conf:
            raise ConfigError(
                f"nginx.conf does not use {word}, so it would not go by the lab's routes",
                fix="llmlab init FOLDER lays out one that does; take over what differs, "
                "then llmlab up",
            )
    return conf


def _wishes(plan: GatewayPlan) -> list[str]:
    names = [one.deployment for one in plan.upstreams]
    return [
        "# X-Model: the deployment that a client asks for.",
        "map $http_x_model $lab_wish {",
        '    "" "";',
        *(f"    {_source(name)} header:{name};" for name in names),
        "    default none;",
        "}",
    ]


def _source(name: str) -> str:
    # What a map takes for a word of its own unless it is told not to.
    return f"\\{name}" if name in ("include", "hostnames", "volatile") else name


def _rules(plan: GatewayPlan) -> list[str]:
    """The chain for everybody without a wish, beginning at $lab_rule_1."""
    traffic = plan.traffic
    numbers = count(1)
    lines = ["# Everybody else: by the first rule that fits."]
    for source, pattern, way in _matches(traffic):
        number = next(numbers)
        lines += [
            f"map {source} $lab_rule_{number} {{",
            f"    {pattern} {way};",
            f"    default $lab_rule_{number + 1};",
            "}",
        ]
    last = f"$lab_rule_{next(numbers)}"
    stable = f"stable:{plan.stable}"
    shares = _shares(traffic.split) if traffic.split else []
    if traffic.split and shares:
        lines += _by(traffic.split.by)
        key = f"{checked('salt', traffic.split.salt)}:{_who(traffic.split.by)}"
        lines += [f'split_clients "{key}" {last} {{', *shares, f"    * {stable};", "}"]
    else:
        lines.append(f'map "" {last} {{ default {stable}; }}')
    return lines


def _matches(traffic: Traffic) -> Iterator[tuple[str, str, str]]:
    """(variable, pattern, way) of every rule: matches in their order, then flags."""
    for one in traffic.matches:
        yield _variable(one), exactly(one.value), f"{one.kind}:{one.deployment}"
    for flag in traffic.flags:
        if flag.deployment:
            yield flag_variable(flag.name), "on", f"flag:{flag.deployment}"


def _variable(match: Match) -> str:
    name = checked(match.kind, match.name)
    if match.kind == "claim":
        return claim_variable(name)
    if match.kind == "flag":
        return flag_variable(name)
    if match.kind == "cookie":
        return f"$cookie_{name}"
    return f"$http_{name.lower().replace('-', '_')}"


def _shares(split: Split) -> list[str]:
    shares = [(percentage(one.percent), one.deployment) for one in split.shares]
    return [f"    {percent} split:{name};" for percent, name in shares if percent]


def _who(by: str) -> str:
    return "$lab_someone" if by == "subject" else "$lab_split_by"


def _by(by: str) -> list[str]:
    kind, _, name = by.partition(":")
    if by == "subject":
        return []
    if kind == "cookie":
        source = f"$cookie_{checked(kind, name)}"
    elif kind == "claim":
        source = claim_variable(name)
    else:
        raise ConfigError(
            f"a split cannot be by {by!r}", fix="use subject, cookie:NAME or claim:NAME"
        )
    return [f'map {source} $lab_split_by {{ "" $lab_someone; default {source}; }}']


def _refuse_unknown(plan: GatewayPlan) -> None:
    known = {one.deployment for one in plan.upstreams}
    _refuse(plan.traffic.targets() - known, "deployment", "llmlab status shows what runs")
    flags = {one.name for one in plan.traffic.flags}
    asked = {one.name for one in plan.traffic.matches if one.kind == "flag"}
    _refuse(asked - flags, "flag", "llmlab flag list")


def _refuse(missing: Iterable[str], what: str, fix: str) -> None:
    for name in sorted(missing):
        raise ConfigError(f"a route leads to {name}, and there is no {what} of that name", fix=fix)
