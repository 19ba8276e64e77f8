"""What holds for the engine ray whatever its machines do: no Ray runs here."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from llmlab.engines.ray.cluster import session_below
from llmlab.engines.ray.shelf import Shelf

CONTENT = b"weights" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def _modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}


def test_a_file_lands_in_parts_for_somebody_who_is_not_root(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    shelf.put(DIGEST, 0, CONTENT[:10], False)
    # Root may write to anything: a mode says what the others may.
    assert _modes(tmp_path / "models") == {0o600}
    shelf.put(DIGEST, 0, CONTENT[:10], False)  # whoever brought it begins anew
    shelf.put(DIGEST, 10, CONTENT[10:], True)
    assert shelf.has(DIGEST)
    assert _modes(tmp_path / "models") == {0o400}


def test_two_replicas_of_a_node_may_be_given_the_same_file_at_once(tmp_path: Path) -> None:
    one, other = Shelf(tmp_path / "models"), Shelf(tmp_path / "models")
    one.put(DIGEST, 0, CONTENT[:10], False)
    other.put(DIGEST, 0, CONTENT[:20], False)
    one.put(DIGEST, 10, CONTENT[10:], True)
    other.put(DIGEST, 20, CONTENT[20:], True)
    assert [file.read_bytes() for file in (tmp_path / "models").iterdir()] == [CONTENT]


@pytest.mark.parametrize("content", [CONTENT + b"more", b"", b"another"])
def test_of_a_file_that_is_another_one_nothing_is_left(tmp_path: Path, content: bytes) -> None:
    shelf = Shelf(tmp_path / "models")
    with pytest.raises(ValueError, match="what came is"):
        shelf.put(DIGEST, 0, content, True)
    assert not os.listdir(tmp_path / "models")


def test_a_model_is_laid_out_again_after_a_try_that_failed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    shelf.put(DIGEST, 0, CONTENT, True)
    for _ in range(2):
        folder = shelf.lay_out(tmp_path / "model", {"a/weights": DIGEST})
    assert (folder / "a" / "weights").read_bytes() == CONTENT


def test_the_folder_that_ray_opens_to_everybody_lies_in_a_closed_one(tmp_path: Path) -> None:
    session = session_below(tmp_path / "ray")
    session.mkdir()
    session.chmod(0o777)  # as Ray does
    assert session_below(tmp_path / "ray") == session
    assert stat.S_IMODE(session.parent.stat().st_mode) == 0o700
