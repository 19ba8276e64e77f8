"""The licence: its own text, and named where installers and indexes look for it."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Of https://www.apache.org/licenses/LICENSE-2.0.txt
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_licence_is_apache_s_text_unchanged() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_what_is_published_names_and_holds_the_licence() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    # With an expression there must be no classifier, and an index refuses both (PEP 639).
    assert not [one for one in project["classifiers"] if one.startswith("License ::")]
    assert "/LICENSE" in settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
