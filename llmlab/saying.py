"""What a program of a lab has to say to whoever reads its log: a JSON object in each line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmlab.ledger.chain import now


def say(document: Mapping[str, Any]) -> None:
    """Print it, with the time, and a level where it has none; what is None is left out.

    Of a supervised process that is a line of its log.
    """
    told = {"time": now(), "level": "info"} | {
        name: value for name, value in document.items() if value is not None
    }
    print(json.dumps(told), flush=True)  # ASCII: the log has the encoding of any machine
