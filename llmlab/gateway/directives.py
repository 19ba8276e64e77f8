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
