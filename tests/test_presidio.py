"""The guard by Presidio, with the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config
from llmlab.errors import ConfigError
from llmlab.guards.base import About, Guard
from llmlab.guards.loading import load
from tests import fakes

pytestmark = pytest.mark.presidio
REQUEST = About("request")


def presidio(**options: Any) -> Guard:
    table = {"kind": "presidio", "options": options}
    return load(Config.model_validate({"guards": [table]}).guards)[0].guard


def found(one: Guard, text: str) -> set[tuple[str, str]]:
    return {(it.label, text[it.start : it.end]) for it in one.find(text, REQUEST)}


def test_it_finds_what_has_a_pattern_without_any_model() -> None:
    one = presidio(entities=["CREDIT_CARD", "PHONE_NUMBER", "EMAIL_ADDRESS"], score=0.4)
    card = next(fakes.samples(fakes.card, 1, 3))
    text = f"Call +1 212 456 7890, write to a@example.org, pay with {card}."
    assert found(one, text) == {
        ("phone_number", "+1 212 456 7890"), ("email_address", "a@example.org"),
        ("credit_card", card),
    }  # fmt: skip


def test_a_model_is_one_that_is_there_and_is_never_fetched(tmp_path: Path) -> None:
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    one = presidio(model=str(tmp_path / "blank"), entities=["EMAIL_ADDRESS"])
    assert found(one, "Write to a@example.org.") == {("email_address", "a@example.org")}
    with pytest.raises(ConfigError, match="no 'en_core_web_lg' installed"):
        presidio(model="en_core_web_lg")


def test_what_it_cannot_find_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing here finds 'PERSON'"):
        presidio(entities=["PERSON"])
    with pytest.raises(ConfigError, match="unexpected keyword argument"):
        presidio(entity="PERSON")
