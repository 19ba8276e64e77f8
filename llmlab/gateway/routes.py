"""lab/routes.conf: which deployment a request goes to, as a chain of maps for each route.

NGINX evaluates the chain when the request is passed on, which is after its token was judged.
Each map holds one rule; its `default` is the next one. What comes out is RULE:DEPLOYMENT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count

from llmlab.errors import ConfigError
from llmlab.gateway.budgets import claims_of
from llmlab.gateway.claims import SUBJECT, claim_variable, used_claims
from llmlab.gateway.flags import flag_maps, flag_variable
from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.quoting import checked, exactly, percentage
from llmlab.gateway.shadow import shadow_maps
from llmlab.names import SUMMARIZE
from llmlab.traffic import Flag, Match, Route, Split

FORGET = "llmlab up --as-configured forgets what was deployed and routed since"
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
    used = sorted({*used_claims(traffic), *claims_of(plan.budgets)} - {SUBJECT})
    lines = [f'map "" $lab_revision {{ default {traffic.revision}; }}', ""]
    if used:
        lines += [*claims(used), ""]
    if traffic.flags or any(route.split for route in traffic.routes.values()):
        lines += [*SOMEONE, ""]
    parts = [
        flag_maps(traffic.flags), _wishes(plan), _asked(plan),
        *(_rules(plan, route) for route in plan.routes), shadow_maps(traffic),
    ]  # fmt: skip
    for part in parts:
        lines += [*part, ""] if part else []
    return lines[:-1]


def _wishes(plan: GatewayPlan) -> list[str]:
    names = [one.deployment for one in plan.upstreams]
    return [
        "# X-Model: the deployment that a client asks for.",
        "map $http_x_model $lab_wish {",
        '    "" "";',
        *(f"    {as_source(name)} header:{name};" for name in names),
        "    default none;",
        "}",
    ]


def as_source(name: str) -> str:
    # What a map takes for a word of its own unless it is told not to.
    return f"\\{name}" if name in ("include", "hostnames", "volatile") else name


def _asked(plan: GatewayPlan) -> list[str]:
    """From what a request names ($asked: "" for a text to be summarized) to its way, and to the
    route that is in the log: "" for a deployment."""
    names = [one.deployment for one in plan.upstreams if one.deployment not in plan.routes]
    return [
        "# What a request names: a route, or a deployment.",
        "map $asked $lab_by_name {",
        f'    "" {_rule(SUMMARIZE)}1;',
        *(f"    {as_source(route)} {_rule(route)}1;" for route in plan.routes),
        *(f"    {as_source(name)} model:{name};" for name in names),
        "}",
        "map $asked $lab_asked_route {",
        f'    "" {SUMMARIZE};',
        *(f"    {as_source(route)} {route};" for route in plan.routes),
        '    default "";',
        "}",
    ]


def _rule(route: str) -> str:
    """How the variables of a route's chain begin. No name holds an underscore."""
    return "$lab_rule_" if route == SUMMARIZE else f"$lab_rule_{route.replace('-', '_')}_"


def _rules(plan: GatewayPlan, name: str) -> list[str]:
    """The chain of a route for everybody without a wish, beginning at 1."""
    route, rule, numbers = plan.traffic.route(name), _rule(name), count(1)
    lines = [f"# Everybody else who asks for {name}: by the first rule that fits."]
    for source, pattern, way in _matches(route, plan.traffic.flags_of(name)):
        number = next(numbers)
        lines += [
            f"map {source} {rule}{number} {{",
            f"    {pattern} {way};",
            f"    default {rule}{number + 1};",
            "}",
        ]
    last = f"{rule}{next(numbers)}"
    stable = f"stable:{plan.routes[name]}"
    shares = _shares(route.split) if route.split else []
    if route.split and shares:
        who, lines_of_who = _who(route.split.by, rule)
        lines += lines_of_who
        key = f"{checked('salt', route.split.salt)}:{who}"
        lines += [f'split_clients "{key}" {last} {{', *shares, f"    * {stable};", "}"]
    else:
        lines.append(f'map "" {last} {{ default {stable}; }}')
    return lines


def _matches(route: Route, flags: Iterable[Flag]) -> Iterator[tuple[str, str, str]]:
    """(variable, pattern, way) of every rule: matches in their order, then flags."""
    for one in route.matches:
        yield _variable(one), exactly(one.value), f"{one.kind}:{one.deployment}"
    for flag in flags:
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


def _who(by: str, rule: str) -> tuple[str, list[str]]:
    """(variable by which a split is, lines that define it)."""
    kind, _, name = by.partition(":")
    if by == "subject":
        return "$lab_someone", []
    if kind == "cookie":
        source = f"$cookie_{checked(kind, name)}"
    elif kind == "claim":
        source = claim_variable(name)
    else:
        raise ConfigError(
            f"a split cannot be by {by!r}", fix="use subject, cookie:NAME or claim:NAME"
        )
    variable = f"{rule.replace('$lab_rule_', '$lab_split_')}by"
    return variable, [f'map {source} {variable} {{ "" $lab_someone; default {source}; }}']


def _refuse_unknown(plan: GatewayPlan) -> None:
    known = {one.deployment for one in plan.upstreams}
    _refuse(plan.traffic.targets() - known, "deployment", "llmlab status shows what runs")
    flags = {one.name for one in plan.traffic.flags}
    routes = plan.traffic.routes
    asked = {
        one.name for route in routes.values() for one in route.matches if one.kind == "flag"
    }  # fmt: skip
    _refuse(asked - flags, "flag", "llmlab flag list")
    # One that says nothing but which rollout was there last may go.
    used = {name for name, route in routes.items() if route.targets()}
    for name in sorted(used - plan.routes.keys()):
        raise ConfigError(
            f"traffic is shared out on the route {name}, and this lab has none of that name",
            fix=f"put it back into [routes] of configs/lab.toml, or {FORGET}",
        )


def _refuse(missing: Iterable[str], what: str, fix: str) -> None:
    for name in sorted(missing):
        raise ConfigError(f"a route leads to {name}, and there is no {what} of that name", fix=fix)
