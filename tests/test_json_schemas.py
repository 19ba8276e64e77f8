"""What a schema that somebody else brings may cost, and what is not taken since it costs more.

Each shape here once kept a process busy for seconds or days. Nothing is timed: what is asked is
whether the bound sees it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmlab import json_schemas
from llmlab.evaluate.checks import checks_of, problems
from llmlab.json_schemas import (
    A_CHARACTER,
    IN_PATTERNS,
    LONGEST_SCHEMA,
    LONGEST_WHY,
    PATTERNS,
    STEPS,
    UNFOLDED,
    Cost,
    parsed,
    taken,
)
from llmlab.service.chat.formats import fits


def doubling(levels: int) -> dict[str, Any]:
    """A schema that refers twice at each level, and so unfolds to 2 to the power of them."""
    two = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**two, f"a{levels}": {"type": "integer"}}}


def again(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"properties": {"a": True}}
    for _ in range(levels):
        found = {"allOf": [found], "unevaluatedProperties": False}
    return found


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "large": ({"enum": [1.5] * LONGEST_SCHEMA}, "more than 65536 characters"),
    "many members": ({"enum": [1] * UNFOLDED}, "more than 10000 values"),
    "many references to many members": (
        {"$defs": {"a": {"enum": [1] * 5000}}, "anyOf": [{"$ref": "#/$defs/a"}] * 200},
        "more than 10000 values",
    ),
    "doubling": (doubling(60), "more than 10000 values"),
    "below a property of a keyword's name": (
        {"properties": {"definitions": {"enum": [1] * UNFOLDED}}}, "more than 10000 values",
    ),
    "arithmetic": ({"multipleOf": 7**5000}, "more than 10000 values"),
    "many patterns": ({"anyOf": [{"pattern": "a"}] * (PATTERNS + 1)}, "more than 20 patterns"),
    "patterns that nothing refers to": (
        {"$defs": {f"{n}": {"pattern": "a"} for n in range(PATTERNS + 1)}}, "more than 20 patterns",
    ),
    "patterns of names": (
        {"patternProperties": {f"^{n}": True for n in range(PATTERNS + 1)}},
        "more than 20 patterns",
    ),
    "long patterns": ({"pattern": r"(a|b\w)" * 200}, "more than 1000 characters"),
    "refers to itself": ({"properties": {"next": {"$ref": "#"}}}, "refers to itself"),
    "refers to another file": ({"$ref": "https://example.org/a.json"}, "refers elsewhere"),
    "refers in other words": (
        {"$ref": "#/$defs/a%62", "$defs": {"a%62": {}, "ab": {"type": "string"}}},
        "refers elsewhere",
    ),
    "refers with a tab": (
        {"$ref": "#/$defs/a\tb", "$defs": {"a\tb": {}, "ab": {"type": "string"}}},
        "refers elsewhere",
    ),
    "refers to nothing": ({"$ref": "#/$defs/none"}, "refers to nothing"),
    "has another base": ({"allOf": [{"$id": "https://example.org/"}]}, "$id"),
    "has another base, as of old": (
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": "https://example.org/"},
        "its $schema is none of",
    ),
    "looks at its parts again": (again(24), "unevaluatedProperties"),
    "nested": (json.loads('{"not":' * 900 + "true" + "}" * 900), "nested too deeply"),
    "no schema": ({"required": ["a"] * 500}, '["a","a"'),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "why"), SHAPES.values(), ids=SHAPES)
def test_a_schema_that_may_cost_much_is_not_taken_by_anybody(
    schema: dict[str, Any], why: str
) -> None:
    text = json.dumps(schema)
    with pytest.raises(ValueError) as told:
        taken(text)
    assert why in str(told.value) and len(str(told.value)) <= LONGEST_WHY
    # A client's: only whether an answer is JSON is judged.
    assert (fits('"a"', text), fits("no JSON", text)) == (True, False)
    # A suite's: refused where it is read; and held against nothing where it was not.
    (problem,) = problems({"json_schema": schema})
    assert problem.startswith("json_schema: is no JSON schema that is taken: ") and why in problem
    assert checks_of({"json_schema": schema}).outcomes("1") == {"json_schema": False}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"items": {"enum": [1.5] * 9000 + [0]}}, [0] * 2000),
        ({"items": {"anyOf": [{"const": n} for n in range(1901)]}}, [0] * 49_000),
        ({"items": {"required": [f"{n}" for n in range(5000)]}}, [{"a": 1}] * 2000),
        ({"items": {"multipleOf": 0.3}}, [11**4000] * 10),
        ({"uniqueItems": True}, [10**25 + n for n in range(1000)]),
        ({"uniqueItems": True}, [2**62 + n for n in range(4500)]),
        ({"items": {"pattern": "[01]*1[01]{700}x"}}, ["01" * 700] * 65),
    ],
    ids=["members", "branches", "names", "arithmetic", "large", "nearly large", "a pattern"],
)
def test_an_answer_that_meets_too_much_is_not_looked_at(
    schema: dict[str, Any], answer: Any
) -> None:
    text, said = json.dumps(schema), json.dumps(answer)
    assert taken(text).fits(parsed(said), len(said)) is None
    assert fits(said, text)  # a client's answer is JSON, and more is not known
    assert checks_of({"json_schema": schema}).outcomes(said) == {"json_schema": False}


@pytest.mark.parametrize(
    ("schema", "answer", "fits"),
    [
        (doubling(4), 1, True),
        (doubling(4), "1", False),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, "1", False),
        ({"format": "date"}, "no date", True),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}, "no date", True),
        ({"type": "string"}, "\ud800", False),
        ({"items": {"enum": [1.5] * 200 + [0]}}, [0] * 2000, True),
        ({"pattern": "^(a+)+$"}, "a" * 50_000 + "b", False),
        (
            {"uniqueItems": True, "items": {"type": "integer"}},
            [2**60 + n for n in range(500)],
            True,
        ),
    ],
    ids=range(9),
)
def test_any_other_is_held_against_the_answer(
    schema: dict[str, Any], answer: Any, fits: bool
) -> None:
    said = json.dumps(answer)
    assert taken(json.dumps(schema)).fits(parsed(said), len(said)) is fits


def test_what_is_looked_at_together_shares_its_steps() -> None:
    schema = taken(json.dumps({"items": {"enum": list(range(100))}}))
    many = STEPS // schema.cost.values // 2
    assert schema.fits([0] * many, 3 * many, share=1) is True
    assert schema.fits([0] * many, 3 * many, share=2) is None
    pattern = taken(json.dumps({"pattern": "a"}))
    assert pattern.fits("a", STEPS // A_CHARACTER + 1) is None


def test_each_part_is_walked_once_however_much_refers_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walked: list[Any] = []
    weight = json_schemas._weight
    monkeypatch.setattr(json_schemas, "_weight", lambda one: (walked.append(one), weight(one))[1])
    parts = [{"$ref": "#/$defs/a"} for _ in range(200)]
    schema = {"$defs": {"a": {"enum": ["once", *range(20)]}}, "anyOf": parts}
    found = taken(json.dumps(schema))
    assert walked.count("once") == 1
    # The root, $defs with what is in it, anyOf, and of each part: itself, its text, what it means.
    assert found.cost == Cost(1 + 1 + 23 + 1 + 200 * (1 + 1 + 23))


def test_patterns_count_by_their_characters() -> None:
    assert taken(json.dumps({"pattern": "a" * IN_PATTERNS})).cost == Cost(2, 1, IN_PATTERNS)
