"""Small pieces of configuration that both editions of the gateway write."""

from __future__ import annotations

from collections.abc import Iterable

from llmlab.config import RateLimit


def joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def limit_req(zone: str, limit: RateLimit) -> list[str]:
    """The line that applies a limit; none where limits are switched off."""
    # NGINX knows no burst=0.
    burst = f" burst={limit.burst} nodelay" if limit.burst else ""
    return [f"limit_req zone={zone}{burst};"] if limit.enabled else []


def to_deployment(name: str) -> list[str]:
    """The lines that pass a request on to one deployment, without the part of the path that
    names it. It is taken off here, and not by ``proxy_pass``, for wherever the request may be
    passed on to as well."""
    return [
        f'rewrite "(?s)^/models/{name}/?(.*)$" /$1 break;',
        f"proxy_pass http://model_{name};",
    ]
