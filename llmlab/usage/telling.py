"""Whether a lab's gateway logs what is used at all."""

from __future__ import annotations

from llmlab.config import Config

USED = "$lab_tokens_in"


def untold(config: Config, conf: str) -> str:
    """Why tokens are missing, and what to do about it; "" where they are not.

    Args:
        conf: nginx.conf of the lab.
    """
    if config.gateway.edition == "plus":
        return (
            "NGINX Plus is run without njs here, by which tokens are counted: only requests are "
            'told.\nFix: gateway.edition = "open" in configs/lab.toml, then llmlab up'
        )
    if USED not in conf:
        return (
            "nginx.conf logs nothing of what is used: it was written for an earlier llmlab.\n"
            "Fix: llmlab init FOLDER lays out one that does; take over what differs, then llmlab up"
        )
    return ""
