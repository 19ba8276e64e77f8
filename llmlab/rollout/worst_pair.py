"""The worst pair of each rollout: a client's text and what both versions made of it, for whoever
runs the lab.

It is redacted by what guards would find, sealed as recordings are, and gone when it is as old as a
recording may get. It is the only place that keeps a text of a rollout's clients.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from llmlab.config import read_config
from llmlab.errors import LlmlabError
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.recording.redacting import Redacting, guards
from llmlab.recording.sealing import KeyPair, Seal, Unopened, refuse_unopened


@dataclass(frozen=True)
class WorstPair:
    """
    Args:
        at: seconds of the epoch, when the stable version answered.
        text, tested, base: redacted.
        values: (the candidate's, the stable version's) of each measure, before that.
        judge: why a judge finds the candidate's worse, in its own words, redacted.
    """

    at: float
    text: str
    tested: str
    base: str
    values: Mapping[str, tuple[float, float]]
    judge: str = ""


class WorstPairs:
    """Those of a lab; the section recording says how old one may get."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def keep(self, rollout: int, pair: WorstPair) -> None:
        """In place of the one that was kept before."""
        self.expire()
        redacting = Redacting(guards())
        held = asdict(pair) | {
            "text": redacting.text(pair.text),
            "tested": redacting.text(pair.tested, "answer"),
            "base": redacting.text(pair.base, "answer"),
            "judge": redacting.text(pair.judge, "answer"),
        }
        seal = Seal(KeyPair.made(self._key_file).public, _name(rollout))
        private_folder(self._folder)
        write_atomically(self._file(rollout), seal.line(json.dumps(held).encode()).decode())

    def of(self, rollout: int) -> WorstPair | None:
        """None where no pair was beyond the gate, or it was too old.

        Raises:
            LlmlabError: it was changed, or sealed by another lab's key.
        """
        self.expire()
        file = self._file(rollout)
        try:
            line = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LlmlabError(
                f"{file} cannot be read: {error.strerror}", fix=f"make {file} readable for you"
            ) from None
        try:
            found = json.loads(KeyPair.of(self._key_file).open(line, _name(rollout)))
            values = {name: tuple(both) for name, both in found.pop("values").items()}
            return WorstPair(**found, values=values)
        except (Unopened, ValueError, TypeError, KeyError):
            raise refuse_unopened(file, 1) from None

    @property
    def _key_file(self) -> Path:
        return private_folder(self._lab.keys_file.parent) / "pairs.key"

    def expire(self) -> None:
        """Remove those that are too old."""
        max_age = read_config(self._lab.config_file).config.recording.max_age
        oldest = time.time() - max_age
        for file in self._folder.glob("*.pair"):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)

    @property
    def _folder(self) -> Path:
        return self._lab.state / "pairs"

    def _file(self, rollout: int) -> Path:
        return self._folder / f"{rollout}.pair"


def _name(rollout: int) -> str:
    return f"pair-{rollout}"
