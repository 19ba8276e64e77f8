"""Whether an nginx.conf does what a plan needs. People write it, and may have theirs from an
earlier llmlab: what it does not use would silently have no effect."""

from __future__ import annotations

import re

from llmlab.errors import ConfigError
from llmlab.gateway.plan import GatewayPlan
from llmlab.names import SUMMARIZE

CREDENTIAL = "$lab_credential"
ROUTED = "it would not go by the lab's routes"
# What an nginx.conf has to use -> what goes wrong where it does not.
WRONG = {
    "$lab_target": ROUTED,
    "$lab_flags": "no API would hear of flags",
    "lab/shadow.conf": "nothing would be sent to the shadow",
    "$endpoint": "the shadow would be asked at the wrong address",
    "lab/openai.conf": ROUTED,
    "lab/budgets.conf": "it would not go by the lab's budgets, and ask no WAF",
    "$lab_waf": "nothing would tell what a WAF has found",
    "$lab_sub": "somebody at an identity provider could be taken for a subject of this lab's own",
    CREDENTIAL: "API keys and certificates of clients would be refused",
    "@turned_away": "a request for a replica that is away would be an error, and asked of no other",
}


def fitting(conf: str, plan: GatewayPlan) -> str:
    """An nginx.conf, if it uses all that this plan needs.

    Raises:
        ConfigError: it does not; it was written for an earlier llmlab, or edited.
    """
    for word, needed in _needs(plan).items():
        if needed:
            insist(conf, word)
    return conf


def insist(conf: str, word: str) -> None:
    """
    Raises:
        ConfigError: an nginx.conf does not use this word.
    """
    told = re.sub(r"(?m)(^|\s)#.*$", "", conf)
    if not re.search(rf"{re.escape(word)}(?!\w)", told):
        raise ConfigError(
            f"nginx.conf does not use {word}, so {WRONG[word]}",
            fix="llmlab init FOLDER lays out one that does; take over what differs, then llmlab up",
        )


def _needs(plan: GatewayPlan) -> dict[str, bool]:
    traffic = plan.traffic
    routes = traffic.routes.values()
    shadows = any(route.shadow for route in routes)
    return {
        "$lab_target": any(route.split or route.matches for route in routes)
        or any(flag.deployment for flag in traffic.flags),
        "$lab_flags": bool(traffic.flags),
        "lab/shadow.conf": shadows,
        "$endpoint": shadows,
        "lab/openai.conf": bool(traffic.routes.keys() - {SUMMARIZE}),
        "lab/budgets.conf": bool(plan.budgets or plan.waf),
        "$lab_waf": bool(plan.waf),
        "$lab_sub": bool(plan.trust.issuers),
        CREDENTIAL: bool(plan.api_keys or (plan.tls and plan.tls.client_tokens)),
        "@turned_away": plan.linked,
    }
