"""Feature flags at the gateway: one variable each, and what they come to in two headers."""

from __future__ import annotations

from collections.abc import Sequence

from llmlab.gateway.claims import claim_variable
from llmlab.gateway.quoting import checked, exactly, percentage
from llmlab.traffic import Flag


def flag_variable(name: str) -> str:
    """The variable that is `on` or `off`."""
    return f"$flag_{checked('flag', name).replace('-', '_')}"


def flag_maps(flags: Sequence[Flag]) -> list[str]:
    """All flags, $lab_flags (X-Flags) and $lab_decoding (X-Decoding)."""
    lines: list[str] = []
    for number, flag in enumerate(flags, 1):
        steps = [flag_variable(flag.name)]
        steps += [f"$lab_flag_{number}_{step}" for step in range(1, len(flag.audience) + 1)]
        for (claim, value), here, following in zip(flag.audience, steps, steps[1:], strict=False):
            source = claim_variable(checked("claim", claim))
            lines.append(f"map {source} {here} {{ {exactly(value)} on; default {following}; }}")
        share = percentage(flag.percent)
        if share:
            lines.append(
                f'split_clients "{flag.name}:$lab_someone" {steps[-1]} {{ {share} on; * off; }}'
            )
        else:
            lines.append(f'map "" {steps[-1]} {{ default off; }}')
    told = ",".join(f"{flag.name}={flag_variable(flag.name)}" for flag in flags)
    return [*lines, f'map "" $lab_flags {{ default "{told}"; }}', *_decoding(flags)]


def _decoding(flags: Sequence[Flag]) -> list[str]:
    """Parameter by parameter: what the first flag says that is on, and says anything of it."""
    names = sorted({checked("decoding", name) for flag in flags for name in flag.decoding})
    lines = []
    for name in names:
        saying = [flag for flag in flags if name in flag.decoding]
        variables = [f"$lab_default_{name}"]
        variables += [f"$lab_default_{name}_{n}" for n in range(2, len(saying) + 1)]
        for flag, here, following in zip(saying, variables, [*variables[1:], '""'], strict=True):
            value = checked("default", str(flag.decoding[name]))
            lines.append(
                f"map {flag_variable(flag.name)} {here} "
                f'{{ on "{name}={value},"; default {following}; }}'
            )
    if not names:
        return ['map "" $lab_decoding { default ""; }']
    whole = "".join(f"$lab_default_{name}" for name in names)
    return [
        *lines,
        f'map "{whole}" $lab_decoding {{ "~^(?<lab_defaults>.+),$" $lab_defaults; default ""; }}',
    ]
