"""What the built-in guards find in a text, and what they leave alone."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.config import Config
from llmlab.errors import ConfigError
from llmlab.guards.base import About, Finding, Guard
from llmlab.guards.checksums import crc_base62, luhn, mod_11_10, mod_97
from llmlab.guards.harmless import prompts
from llmlab.guards.loading import load
from llmlab.guards.rules import Blocked, GuardFailed, Rule, applying
from llmlab.guards.window import Window
from tests import fakes

REQUEST = About("request")
EACH = 40  # fakes of each kind
LANGUAGES = {
    "english", "german", "french", "spanish", "italian", "portuguese", "dutch", "polish",
    "turkish", "russian", "arabic", "hindi", "chinese", "japanese", "korean",
}  # fmt: skip


def rules(*tables: dict[str, Any]) -> tuple[Rule, ...]:
    return load(Config.model_validate({"guards": list(tables)}).guards)


def guard(**table: Any) -> Guard:
    return rules(table)[0].guard


SECRETS, PII = guard(kind="secrets"), guard(kind="pii")


def found(one: Guard, text: str) -> list[tuple[str, str]]:
    """(label, what was found)"""
    return [(it.label, text[it.start : it.end]) for it in one.find(text, REQUEST)]


def passed(window: Window, pieces: Sequence[str]) -> str:
    """What leaves, over all."""

    async def work() -> str:
        out = [await window.feed(piece) for piece in pieces]
        return "".join([*out, await window.feed("", ended=True)])

    return asyncio.run(work())


def window(*held: Rule, **more: Any) -> Window:
    return Window(held, "answer", lambda *_: None, **more)


# --- what is found -----------------------------------------------------------------


@pytest.mark.parametrize("label", fakes.SECRETS)
def test_keys_of_every_format_are_found_whole_wherever_they_stand(label: str) -> None:
    for key in fakes.samples(fakes.SECRETS[label], EACH):
        whole = key.removeprefix("https://")
        for text in (key, f"It is {key}, you see.", f'{{"k": "{key}"}}', f"see\n{key}\nthere"):
            assert (label, whole) in found(SECRETS, text), text


def test_a_random_value_that_is_assigned_to_a_key_is_found_and_its_name_is_left() -> None:
    """Nine of ten: of letters and digits that are drawn, some have hardly a digit."""
    caught = 0
    for text in fakes.samples(fakes.assigned, 400):
        for label, value in found(SECRETS, text):
            assert label == "assignment" and len(value) in (24, 32, 40) and text.count(value) == 1
            caught += 1
    assert caught / 400 >= 0.9


@pytest.mark.parametrize("label", fakes.PII)
def test_numbers_of_people_are_found(label: str) -> None:
    one = guard(kind="pii", find=[label])
    for text in fakes.samples(fakes.PII[label], EACH):
        number = text.removeprefix("SSN ")
        for around in (text, f"({text})", f"It is {text}.", f"It is {text}, and 3 more"):
            assert found(one, around) == [(label, number)], around


@pytest.mark.parametrize("label", ["github", "npm"])
def test_a_token_with_wrong_check_digits_is_none(label: str) -> None:
    for token in fakes.samples(fakes.SECRETS[label], EACH):
        last = "b" if token[-1] == "a" else "a"
        assert (label, token) not in found(SECRETS, token)[:0] + found(SECRETS, token[:-1] + last)


@pytest.mark.parametrize("label", ["card", "iban", "de-tax-id"])
def test_a_number_with_a_wrong_check_digit_is_none(label: str) -> None:
    for number in fakes.samples(fakes.PII[label], EACH):
        wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
        assert found(PII, wrong) == [], wrong


@pytest.mark.parametrize(
    ("digits", "share"), [(8, 0), (9, 0), (10, 0), (11, 0.005), (12, 0), (13, 0), (14, 0),
                          (15, 0.005), (16, 0.03), (17, 0), (18, 0), (19, 0)],
)  # fmt: skip
def test_of_random_numbers_hardly_any_is_taken_for_a_persons(digits: int, share: float) -> None:
    """A card has also to be of an issuer, and one check digit lets every tenth number pass."""
    draw = random.Random(7)
    numbers = [draw.randrange(10 ** (digits - 1), 10**digits) for _ in range(4000)]
    taken = [number for number in numbers if found(PII, f"No. {number}, please")]
    assert len(taken) / len(numbers) <= share


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (luhn, "79927398713", "79927398710"),
        (luhn, "49927398716", "49927398717"),
        (mod_97, "GB82WEST12345698765432", "GB82WEST12345698765423"),
        (mod_97, "DE89370400440532013000", "DE89370400440532013001"),
        (mod_11_10, "86095742719", "86095742718"),
        (mod_11_10, "65929970489", "65929970481"),
    ],
)
def test_check_digits_are_those_of_published_examples(check: Any, right: str, wrong: str) -> None:
    assert check(right) and not check(wrong)


def test_the_checksum_of_a_token_is_that_of_its_random_part() -> None:
    # zlib.crc32(b"a" * 30) is 1_275_204_186 = 1O IKD a in base 62, see the module.
    assert not crc_base62("a" * 36)
    assert all(crc_base62(token[4:]) for token in fakes.samples(fakes.checked("ghp_"), EACH))


# --- a deny list ---------------------------------------------------------------------


def test_words_are_found_whole_in_any_case_and_spacing() -> None:
    one = guard(kind="deny", words=["project falcon", "Öl"])
    assert found(one, "PROJECT\n Falcon's öl") == [("denied", "PROJECT\n Falcon"), ("denied", "öl")]
    assert found(one, "projectfalcon, project falconry, Ölpreis, Kohlöl") == []


def test_patterns_are_matched_as_they_stand() -> None:
    one = guard(kind="deny", patterns=[r"(?i)ticket-\d+", "geheim"])
    assert found(one, "é TICKET-12 und geheim") == [("denied", "TICKET-12"), ("denied", "geheim")]


def test_no_pattern_can_keep_the_process_busy() -> None:
    """Of Python's own expressions, this one takes longer than the universe is old."""
    one = guard(kind="deny", patterns=["(a+)+b", "(x|xx)*y"])
    start = time.monotonic()
    assert found(one, "a" * 5000 + "x" * 5000) == []
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("one", [SECRETS, PII, guard(kind="pii", find=["email"])])
@pytest.mark.parametrize(
    "nasty",
    ["eyJ" * 7000, "1 " * 9000, "-----BEGIN " * 1800, "password = " * 1800, "a@" * 9000,
     "a." * 9000, "DE89 " * 4000, "sk-" * 7000, "4" * 19_000, "api_key" + " " * 19_000,
     "-----BEGIN RSA PRIVATE KEY-----" + "A: b\n" * 3500, "x" * 19_000, "api_key=" * 2400,
     "\\n" * 9000, "\\" * 19_000, "\\u00e9" * 3000, "\\n4111 1111 1111 1111" * 900],
    ids=lambda text: text[:16],
)  # fmt: skip
def test_no_text_can_keep_a_built_in_guard_busy(one: Guard, nasty: str) -> None:
    start = time.monotonic()
    list(one.find(nasty, REQUEST))
    one.pending(nasty)
    assert time.monotonic() - start < 1


# --- language ------------------------------------------------------------------------

ENGLISH = (
    "The keeper lit the lamp at dusk, and a ship far out at sea read its light. Then he wrote the "
    "hour into his book, ate his bread and went to bed early, for the night would be a long one."
)
GERMAN = (
    "Der Wärter zündete am Abend die Lampe an, und ein Schiff weit draußen auf See sah ihr Licht. "
    "Dann schrieb er die Stunde in sein Buch, aß sein Brot und ging früh zu Bett."
)
FRENCH = (
    "Le gardien alluma la lampe au crépuscule, et un navire loin en mer vit sa lumière. Puis il "
    "nota l'heure dans son livre, mangea son pain et se coucha tôt, car la nuit serait longue."
)


@pytest.mark.parametrize(
    ("asked", "answer", "drifts"),
    [
        (ENGLISH, GERMAN, True),
        (GERMAN, ENGLISH, True),
        ("What did the keeper do before he went to bed?", FRENCH, True),
        (ENGLISH, ENGLISH, False),
        (GERMAN, GERMAN, False),
        ("What did the keeper do? Answer in French.", FRENCH, False),
        ("Übersetze das: " + ENGLISH, ENGLISH, False),
        ("ok", GERMAN, False),  # nobody knows in which language that is
        (ENGLISH, "Oui.", False),  # too little to tell
        (
            GERMAN,
            "```python\n" + "for lamp in lamps:\n    light(lamp, at=dusk)\n" * 8 + "```",
            False,
        ),
    ],
)
def test_an_answer_in_another_language_than_its_request_is_told(
    asked: str, answer: str, drifts: bool
) -> None:
    one = guard(kind="language")
    assert bool(list(one.find(answer, About("answer", asked)))) == drifts


@pytest.mark.parametrize(
    "around", ["# Bericht\n{}", "{}\n}}", "> Zitat\n{}\n```\nx\n```", "$ ls\n{}"]
)
def test_what_is_no_prose_hides_no_prose_beside_it(around: str) -> None:
    one = guard(kind="language")
    assert list(one.find(around.format(GERMAN), About("answer", ENGLISH)))


def test_only_some_languages_may_be_allowed_of_requests_too() -> None:
    one = guard(kind="language", languages=["en", "de"], on=["request"])
    assert [bool(list(one.find(text, REQUEST))) for text in (ENGLISH, GERMAN, FRENCH)] == [
        False, False, True,
    ]  # fmt: skip


# --- streams ---------------------------------------------------------------------------

REDACTING = rules(
    {"kind": "secrets", "action": "redact"},
    {"kind": "pii", "find": [*fakes.PII], "action": "redact"},
    {"kind": "deny", "words": ["project falcon"], "patterns": ["(?i)ticket-[0-9]+"],
     "action": "redact", "longest": 20},
)  # fmt: skip
PIECES = [
    "It is ", " and ", "\n", ", ", "\\n", "\\\\n", "\\u003c", "\\",
    "Project  Falcon", "TICKET-77", "eyJhbGciOiJIUzI1NiJ9", "sk-",
    "password: ", "-----BEGIN", "漢字", "1234 5678", "DE89", "a@b", "https://example.org/a?b=c",
    *(next(fakes.samples(make, 1, seed)) for seed, make in enumerate(
        [*fakes.SECRETS.values(), *fakes.PII.values(), fakes.assigned])),
]  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.randoms())
def test_a_stream_leaves_as_the_whole_text_would_however_it_is_cut(
    parts: list[str], draw: random.Random
) -> None:
    text = "".join(parts)
    cuts = sorted(draw.choices(range(len(text) + 1), k=min(len(text), draw.randint(0, 60))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert passed(window(*REDACTING), pieces) == passed(window(*REDACTING), [text])


@pytest.mark.parametrize("label", [*fakes.SECRETS, *fakes.PII])
def test_no_character_of_a_secret_leaves_though_each_comes_alone(label: str) -> None:
    secret = next(fakes.samples((fakes.SECRETS | fakes.PII)[label], 1, 5))
    number = secret.removeprefix("SSN ").removeprefix("https://")
    text = f"Here you are: {secret}. Anything else?"
    told = passed(window(*REDACTING), list(text))
    assert told == text.replace(number, f"[{label}]")


@pytest.mark.parametrize("label", [*fakes.SECRETS, *fakes.PII, "denied"])
def test_what_json_escapes_hides_nothing_however_deep_and_though_each_character_comes_alone(
    label: str,
) -> None:
    makers = fakes.SECRETS | fakes.PII
    secret = next(fakes.samples(makers[label], 1, 5)) if label in makers else "Project Falcon"
    number = secret.removeprefix("SSN ").removeprefix("https://")
    text = f"Hier für <Sie>:\n{secret}\n<Noch> etwas?"
    for _ in range(2):
        text, number = json.dumps(text), json.dumps(number)[1:-1]
        shown = text.replace("<", "\\u003c")  # as some write it
        told = shown.replace(number, f"[{label}]")
        assert passed(window(*REDACTING), [shown]) == told
        assert passed(window(*REDACTING), list(shown)) == told


def test_of_an_escape_nothing_is_cut_off() -> None:
    text = json.dumps("as \u00e9anna@example.org, or\nanna@example.org")
    told = passed(window(*REDACTING), [text])
    assert json.loads(told) == "as é[email], or\n[email]"


def test_what_is_harmless_hardly_waits() -> None:
    """At the end of each word all of it has left that the secrets' and numbers' guards hold."""

    async def work() -> list[int]:
        one, held, text = window(*REDACTING[:2]), [], ""
        left = ""
        for char in ENGLISH:
            text += char
            left += await one.feed(char)
            held.append(len(text) - len(left))
        return held

    assert max(asyncio.run(work())) <= 24


def test_a_block_ends_a_text_before_anything_of_it_leaves() -> None:
    key = next(fakes.samples(fakes.SECRETS["github"], 1))
    (rule,) = rules({"kind": "secrets"})
    left: list[str] = []

    async def work() -> None:
        one = window(rule)
        for char in f"The token is {key} and that is that.":
            left.append(await one.feed(char))

    with pytest.raises(Blocked) as raised:
        asyncio.run(work())
    assert raised.value.labels == ("github",)
    assert "".join(left) == "The token is "


def test_what_is_allowed_is_counted_once_and_goes_as_it_came() -> None:
    (rule,) = rules({"kind": "pii", "action": "allow"})
    told: list[Sequence[Finding]] = []
    text = f"Card {next(fakes.samples(fakes.card, 1))}, thank you."
    one = Window([rule], "answer", lambda _, new: told.append(new))
    assert passed(one, list(text)) == text
    assert [len(new) for new in told] == [1]


def test_where_findings_overlap_there_is_one_placeholder() -> None:
    both = rules({"kind": "deny", "words": ["lamp light"], "patterns": ["light house"],
                  "action": "redact"})  # fmt: skip
    assert passed(window(*both), list("the lamp light house stands")) == "the [denied] stands"


# --- harmless prompts -------------------------------------------------------------------


def test_the_harmless_set_is_large_and_of_many_kinds() -> None:
    found = prompts()
    kinds = {one.kind for one in found}
    assert len({one.text for one in found}) == len(found) >= 200
    assert {"python", "sql", "html", "shell", "logs", "tables", "numbers", "about keys"} < kinds
    assert len(LANGUAGES & kinds) >= 12


@pytest.mark.parametrize("one", [SECRETS, PII, guard(kind="language", languages=["en"])])
def test_no_harmless_prompt_is_taken_for_anything(one: Guard) -> None:
    language = bool(one.labels == ("language",))
    for prompt in prompts():
        if not language or prompt.kind == "english":
            assert found(one, prompt.text) == [], prompt.text


def test_no_answer_in_its_requests_language_is_taken_for_another() -> None:
    """And of those in another one, nineteen of twenty are found."""
    of = {kind: [one.text for one in prompts() if one.kind == kind] for kind in LANGUAGES}
    one, told = guard(kind="language"), []
    for asked, language in ((text, kind) for kind, texts in of.items() for text in texts):
        for answered, texts in of.items():
            answer = (" ".join(texts) * 3)[:400]
            drifts = bool(list(one.find(answer, About("answer", asked))))
            assert not (drifts and answered == language), asked
            told += [drifts] if answered != language else []
    assert sum(told) / len(told) >= 0.95


# --- what fails closes -----------------------------------------------------------------


class Odd(Guard):
    def __init__(self, what: str) -> None:
        self.what = what

    def find(self, text: str, about: About) -> Iterable[Finding]:
        match self.what:
            case "raises":
                raise RuntimeError(text)
            case "hangs":
                time.sleep(3)
            case "dawdles":
                time.sleep(0.05)
            case "exits":
                raise SystemExit
            case "gives up":
                raise TimeoutError
            case "lies":
                return [Finding(0, len(text) + 1, "odd")]
            case "shouts":
                return [Finding(0, 1, text)]
        return []


@pytest.mark.parametrize("what", ["raises", "hangs", "lies", "shouts", "gives up", "exits"])
def test_a_guard_that_cannot_tell_lets_nothing_through_and_quotes_nothing(what: str) -> None:
    rule = Rule("odd", Odd(what), action="allow", timeout=0.2)
    with pytest.raises(GuardFailed) as raised:
        passed(window(rule), ["a secret word"])
    assert "secret" not in str(raised.value)


def test_a_guard_whose_looks_never_end_is_not_asked_again_and_again() -> None:
    rule = Rule("odd", Odd("hangs"), timeout=0.01)
    for _ in range(8):
        with pytest.raises(GuardFailed, match="longer than"):
            passed(window(rule), ["a"])
    with pytest.raises(GuardFailed, match="do not end"):
        passed(window(rule), ["a"])


def test_many_may_be_looked_at_at_once() -> None:
    rule = Rule("odd", Odd("dawdles"), timeout=30)

    async def work() -> list[str]:
        return await asyncio.gather(*(window(rule).feed("a", ended=True) for _ in range(30)))

    assert asyncio.run(work()) == ["a"] * 30


def test_a_deployment_that_is_asked_by_its_name_is_no_way_around_a_guard() -> None:
    (one,) = rules({"kind": "secrets", "routes": ["chat"]})
    assert applying([one], "request", "chat") == applying([one], "answer", "") == (one,)
    assert applying([one], "request", "summarize") == ()


# --- lab.toml ----------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a key of another kind": ({"kind": "secrets", "words": ["a"]}, "words is for deny"),
    "options of a built-in": (
        {"kind": "pii", "options": {"a": 1}},
        "options is for kinds of other",
    ),
    "a misspelt key": ({"kind": "pii", "finds": ["card"]}, "finds"),
    "an empty deny list": ({"kind": "deny"}, "denies nothing"),
    "a language redacted": ({"kind": "language", "action": "redact"}, "cannot redact"),
    "requests in no language": ({"kind": "language", "on": ["request"]}, "needs languages"),
    "no such action": ({"kind": "pii", "action": "warn"}, "action"),
    "no such route": ({"kind": "pii", "routes": ["chta"]}, "no route 'chta'"),
    "no such format": ({"kind": "pii", "find": ["cards"]}, "no format 'cards'"),
    "no such secret": ({"kind": "secrets", "find": ["azure"]}, "no format 'azure'"),
    "no such language": ({"kind": "language", "languages": ["xx"]}, "no language"),
    "look-around": ({"kind": "deny", "patterns": ["(?=a)b"]}, "no pattern of RE2"),
    "a pattern of nothing": ({"kind": "deny", "patterns": ["a*"]}, "matches where nothing is"),
    "an empty word": ({"kind": "deny", "words": [" "]}, "one of them is empty"),
    "no such kind": ({"kind": "presidoi"}, "no kind 'presidoi'"),
}


@pytest.mark.parametrize(("table", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_guard_that_is_not_right_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=said):
        rules(table)


MODULES = {
    "broken": ("raise RuntimeError('at import')", "broken_guard:Guard", "cannot be loaded from"),
    "lacking": ("def make():\n    import no_such_module", "broken_guard:make", "no_such_module"),
    "another": ("def make():\n    return 1", "broken_guard:make", "makes no llmlab.guards"),
    "no-maker": ("make = 1", "broken_guard:make", "is nothing that makes a guard"),
}


@pytest.mark.parametrize(("code", "point", "said"), MODULES.values(), ids=MODULES.keys())
def test_a_package_whose_guard_is_none_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, point: str, said: str
) -> None:
    monkeypatch.delitem(sys.modules, "broken_guard", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_guard.py").write_text(code)
    about = tmp_path / "broken_guard-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-guard\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[llmlab.guards]\nbroken = {point}\n")
    with pytest.raises(ConfigError, match=said) as raised:
        rules({"kind": "broken"})
    assert raised.value.fix


def test_two_guards_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="2 are called 'pii'"):
        rules({"kind": "pii"}, {"kind": "pii", "find": ["email"]})
    assert len(rules({"kind": "pii"}, {"kind": "pii", "find": ["email"], "name": "mail"})) == 2
