"""lab/upstreams.conf: the processes of each deployment, and who of them is asked a second time.

A process that is about to end may still listen: what it broke off it would be given again, and
break off again. So a request that failed goes on to those that have not just had it: the addresses
of a deployment are two halves, and each of the two upstreams for a second try asks one half first.
The half of the process that failed is asked when nobody else takes connections.
"""

from __future__ import annotations

from dataclasses import replace

from llmlab.gateway.plan import GatewayPlan, Upstream
from llmlab.gateway.quoting import ending_with

FEW = 64  # processes whose shared memory is 128k


def upstreams(plan: GatewayPlan) -> str:
    first = [("llmapi", plan.upstream(plan.stable))]
    first += [(f"model_{one.deployment}", one) for one in plan.upstreams]
    # The same without connections from before: one to a process that has just ended fails only
    # once the request was written to it, and then nobody knows whether that was received.
    again = [named for one in plan.upstreams for named in _again(one).items()]
    # An answer is good for so long, whatever it says itself: processes come and go.
    names = [f"resolver {plan.resolver} valid=5s;\n"] if plan.resolver else []
    return "\n".join(
        [*names, *(_upstream(name, one, "    keepalive 32;\n") for name, one in first),
         *(_upstream(name, one) for name, one in again), _choice(plan)]
    )  # fmt: skip


def _again(upstream: Upstream) -> dict[str, Upstream]:
    """The upstreams of a second try. No deployment's name ends with an underscore."""
    first, second = _halves(upstream)
    name = f"again_{upstream.deployment}"
    if not second:
        return {name: upstream}
    return {
        name: replace(upstream, servers=first, spares=second),
        f"{name}_": replace(upstream, servers=second, spares=first),
    }


def _halves(upstream: Upstream) -> tuple[tuple[str, ...], tuple[str, ...]]:
    addresses = (*upstream.servers, *upstream.spares)
    middle = (len(addresses) + 1) // 2
    return addresses[:middle], addresses[middle:]


def _choice(plan: GatewayPlan) -> str:
    """Which of them it is, by the address that was asked last."""
    lines = [
        f"    {ending_with(f'{one.deployment} ', address)} again_{one.deployment}_;"
        for one in plan.upstreams
        if _halves(one)[1]
        for address in _halves(one)[0]
    ]
    return "\n".join(
        ["# Who is asked what an API broke off: not the one that did.",
         'map "$lab_target $upstream_addr" $lab_again {', *lines,
         "    default again_$lab_target;", "}\n"]
    )  # fmt: skip


def _upstream(name: str, upstream: Upstream, keepalive: str = "") -> str:
    several = upstream.replicas > 1
    # How busy each of several processes is has to be known to all workers. 64 of them take more
    # than 64k; 256, as many as there may be, have four times as much.
    size = "128k" if upstream.replicas <= FEW else "512k"
    zone = f"    zone {name} {size};\n    least_conn;\n" if several else ""
    # max_fails=0: a restarted server is asked again at once, not after fail_timeout.
    fails = " max_fails=0" if upstream.spares or several else ""
    # Of one that rests nobody listens: who asks for it is told so, by $lab_rests.
    fails = fails if upstream.replicas else " down"
    servers = "".join(f"    server {address}{fails};\n" for address in upstream.servers)
    servers += "".join(f"    server {address}{fails} backup;\n" for address in upstream.spares)
    return f"upstream {name} {{\n{zone}{servers}{keepalive}}}\n"
