"""From [[guards]] of lab.toml to guards. What cannot be loaded is an error: a lab that was to
have a guard is never without."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points

from llmlab import config
from llmlab.config.guards import BUILT_IN
from llmlab.errors import ConfigError
from llmlab.guards.base import Guard
from llmlab.guards.rules import Rule

GROUP = "llmlab.guards"


def load(guards: Iterable[config.Guard]) -> tuple[Rule, ...]:
    """
    Raises:
        ConfigError: a kind is not installed or cannot be loaded, or refuses its options.
    """
    return tuple(_rule(number, one) for number, one in enumerate(guards))


def _rule(number: int, said: config.Guard) -> Rule:
    where = f"guards.{number} ({said.named})"
    try:
        guard = _made(said)
    except (ValueError, TypeError) as error:
        fix = "correct [[guards]] in configs/lab.toml"
        raise ConfigError(f"{where}: {error}", fix=fix) from None
    except ImportError as error:
        raise ConfigError(f"{where}: {error}", fix=f"install what {said.kind} needs") from None
    return Rule(said.named, guard, said.where, said.action, tuple(said.routes), said.timeout)


def _made(said: config.Guard) -> Guard:
    """Raises ValueError or TypeError: it cannot be made of what is said."""
    match said.kind:
        case "secrets":
            from llmlab.guards.secrets import Secrets

            return Secrets(said.find)
        case "pii":
            from llmlab.guards.pii import Pii

            return Pii(said.find)
        case "language":
            from llmlab.guards.language import Language

            return Language(said.languages, said.least)
        case "deny":
            from llmlab.guards.deny import Deny

            return Deny(said.words, said.patterns, said.longest)
    return _of_others(said)


def _of_others(said: config.Guard) -> Guard:
    offered = [one for one in entry_points(group=GROUP) if one.name == said.kind]
    if not offered:
        names = [*BUILT_IN, *(one.name for one in entry_points(group=GROUP))]
        raise ConfigError(
            f"guards: there is no kind {said.kind!r}, only {', '.join(dict.fromkeys(names))}",
            fix=f"install the package that offers {said.kind} (entry point group {GROUP}), or "
            "correct [[guards]] in configs/lab.toml",
        )
    if len({one.value for one in offered}) > 1:
        whose = ", ".join(one.value for one in offered)
        raise ConfigError(
            f"guards: several packages offer the kind {said.kind}: {whose}",
            fix="uninstall all but one of them",
        )
    made = _loaded(offered[0])(**said.options)
    if not isinstance(made, Guard):
        raise TypeError(f"{offered[0].value} makes no llmlab.guards.base.Guard")
    return made


def _loaded(point: EntryPoint) -> Callable[..., object]:
    try:
        found = point.load()
    except Exception as error:  # of anybody's package, at import: whatever it raises
        raise ConfigError(
            f"guards: {point.name} cannot be loaded from {point.value}: "
            f"{type(error).__name__}: {error}",
            fix="install what it needs, or take it out of [[guards]] in configs/lab.toml",
        ) from error
    if not callable(found):
        raise ConfigError(
            f"guards: {point.value} is nothing that makes a guard",
            fix="take it out of [[guards]] in configs/lab.toml",
        )
    return found  # type: ignore[no-any-return]
