"""Whether a deployment gets what it should."""

from __future__ import annotations

OFF = 5.0  # points between share and weight from which on it shows
FEW = 100  # requests below which a share says little


def is_off(share: float, weight: float, of: int) -> bool:
    """
    Args:
        share: measured, in percent; nan where nothing was.
        weight: what it should be, in percent.
        of: requests that the share is measured on.
    """
    return of >= FEW and abs(share - weight) > OFF
