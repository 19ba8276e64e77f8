"""What somebody says of a flag, by options or in a form, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.delivery.deployments import check_deployment
from llmlab.errors import UsageError
from llmlab.flags.changing import set_flag, take_over
from llmlab.flags.defining import checked_name, defined, parse_audience
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.traffic import Flag


@dataclass(frozen=True)
class Wanted:
    """What is said of a flag; None for what is not, which stays as it is.

    Args:
        on, off: for everybody, for nobody.
        audience: CLAIM=VALUE each; [""] for nobody's.
        deployment: "" for where requests would go anyway.
        max_length, min_length: 0 for none. strategy: "" for none.
    """

    on: bool = False
    off: bool = False
    percent: float | None = None
    audience: Sequence[str] | None = None
    deployment: str | None = None
    max_length: int | None = None
    min_length: int | None = None
    strategy: str | None = None

    def parts(self) -> dict[str, Any]:
        """As ``defined`` takes them."""
        return {**self._who(), "deployment": self.deployment, "decoding": self._decoding()}

    def _who(self) -> dict[str, Any]:
        some = self.percent is not None or bool(self.audience)
        if self.on + self.off + some > 1:
            raise UsageError("--on, --off, and --percent with --for exclude each other")
        if self.on or self.off:
            return {"percent": 100.0 if self.on else 0.0, "audience": ()}
        given = self.audience
        audience = None if given is None else parse_audience([one for one in given if one])
        return {"percent": self.percent, "audience": audience}

    def _decoding(self) -> dict[str, Any] | None:
        """What is taken out is None."""
        said = {
            "max_length": self.max_length, "min_length": self.min_length,
            "strategy": self.strategy,
        }  # fmt: skip
        return {name: value or None for name, value in said.items() if value is not None} or None


def put(
    lab: Lab, name: str, wanted: Wanted, why: str = "", *, who: str = ""
) -> tuple[Flag, bool, bool]:
    """Define a flag, or change it, and have a running gateway go by it.

    Returns:
        The flag; whether that changed anything; whether a running gateway goes by it.
    """
    checked_name(name)
    parts = wanted.parts()
    if wanted.deployment:
        check_deployment(lab, wanted.deployment)

    def change(before: Flag | None) -> Flag:
        if before is None and parts["percent"] is None and not parts["audience"]:
            raise UsageError(
                f"{name} is new, and nothing says for whom it is on",
                fix=f"llmlab flag set {name} --percent 10",
            )
        return defined(before or Flag(name), **parts)

    flag, changed = set_flag(Store(lab), name, change, why, who=who)
    return flag, changed, take_over(lab)  # also if nothing changed: it may have failed before
