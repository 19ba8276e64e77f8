"""What was read never stands in a message: it may be a key, a token, or somebody's text."""

from __future__ import annotations

import ast
import json
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel, field_validator

import llmlab
from llmlab.auth import KeyStore
from llmlab.auth.keys import Key
from llmlab.auth.tokens import Claims, mint
from llmlab.client.credentials import FileTokens
from llmlab.client.sources import collect
from llmlab.config import read_config
from llmlab.errors import LlmlabError, unreadable
from llmlab.evaluate.suite import load_suite
from llmlab.lab import Lab
from llmlab.ledger.exported import read as read_export
from llmlab.ledger.store import Store
from llmlab.network import without_login
from llmlab.tune.data import load_pairs

SECRET = "ZmFudGFzdGljand0c2VjcmV0"


def all_told(error: LlmlabError) -> str:
    """Whatever of an error may reach a terminal or a log, the traceback of a program that lets it
    pass included."""
    return "".join(traceback.format_exception(error)) + f"{error.fix} {error.log}"


# --- What is said of an exception --------------------------------------------------


class Model(BaseModel):
    number: int = 0
    name: str = ""

    @field_validator("name")
    @classmethod
    def _never(cls, value: str) -> str:
        if value:
            raise ValueError(f"{value!r} is no name")
        return value


def failure(of: Callable[[], object]) -> BaseException:
    try:
        of()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def parsed(content: bytes) -> object:
    return json.loads(content)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (lambda: parsed(f'{{"k": "{SECRET}"'.encode() + b"\xff"), "byte 32 is not UTF-8"),
        (lambda: parsed(f'{{"k": "{SECRET}"'.encode()), "no JSON: Expecting ',' delimiter"),
        (lambda: int(SECRET), "it is not built as it should be (ValueError)"),
        (lambda: {SECRET: 1}["k"], "it has no k"),
        (lambda: SECRET["k"], "it is not built as it should be (TypeError)"),  # type: ignore[call-overload]
        (lambda: Model(number=SECRET), "number: Input should be a valid integer"),  # type: ignore[arg-type]
        (lambda: Model(name=SECRET), "name: is not allowed"),
        (lambda: Path("/nowhere", SECRET).read_bytes(), "No such file or directory"),
        (lambda: SECRET.encode("ascii") and "\ud800".encode(), "UnicodeEncodeError"),
    ],
)
def test_an_exception_is_told_by_place_and_kind(of: Callable[[], object], told: str) -> None:
    said = unreadable(failure(of))
    assert told in said
    assert SECRET not in said
    assert "\n" not in said


# --- Every file that is read --------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A file of the lab and who reads it."""

    name: str
    read: Callable[[Path], object]


READERS = [
    Reader(".llmlab/keys/jwks.json", lambda file: KeyStore(file).read()),
    Reader("configs/lab.toml", read_config),
    Reader("token.txt", lambda file: FileTokens(file)()),
    Reader("suite.jsonl", load_suite),
    Reader("pairs.jsonl", load_pairs),
    Reader("ledger.jsonl", lambda file: list(read_export(file))),
    Reader("text.txt", lambda file: collect([str(file)])[0].read()),
]
DAMAGES = {
    "one byte that is no UTF-8 at the end": f'{{"keys": [{{"k": "{SECRET}"}}]}}'.encode() + b"\xff",
    "cut off": f'{{"keys": [{{"k": "{SECRET}"'.encode(),
    "a list": f'["{SECRET}"]'.encode(),
    "a text": f'"{SECRET}"'.encode(),
    "members of other types": f'{{"keys": "{SECRET}", "seq": "{SECRET}", "id": 7}}'.encode(),
    "no members": f'{{"{SECRET}": 1}}'.encode(),
    "too many digits": b'{"keys": ' + b"9" * 5000 + b"}",
}
# Here it is the name of a member, which is told: it is misspelt, and no secret.
NAMED = {
    ("suite.jsonl", "no members"), ("pairs.jsonl", "no members"), ("configs/lab.toml", "a list"),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS, ids=lambda one: one.name)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_by_its_name_and_not_by_its_content(
    tmp_path: Path, reader: Reader, damage: str
) -> None:
    if (reader.name, damage) in NAMED:
        return
    file = tmp_path / reader.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(DAMAGES[damage])
    file.chmod(0o600)
    try:
        reader.read(file)
    except LlmlabError as error:
        assert SECRET not in all_told(error)
        assert error.message
    else:
        assert reader.name in ("text.txt", "token.txt"), "those are plain text, which it is"


@pytest.mark.parametrize("document", [{"stable": [SECRET]}, [SECRET], SECRET])
def test_a_damaged_row_is_told_without_what_it_holds(tmp_path: Path, document: object) -> None:
    store = Store(Lab(tmp_path))
    store.note("key", {"did": "made"})
    with sqlite3.connect(store.database.file) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO state (name, document) VALUES ('traffic', ?)",
            (json.dumps(document),),
        )
    with pytest.raises(LlmlabError) as caught:
        store.traffic()
    assert SECRET not in str(caught.value)


def test_a_key_that_cannot_sign_is_told_by_its_id() -> None:
    for jwk in ({"kty": "oct", "k": f"{SECRET}!ÿ"}, {"kty": "EC", "crv": SECRET, "d": SECRET}):
        with pytest.raises(LlmlabError) as caught:
            mint(Key({"kid": "0002", "alg": "ES256", **jwk}), Claims(sub="a"))
        assert "0002" in caught.value.message
        assert SECRET not in all_told(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://me:{SECRET}@hub.example/api", "https://hub.example/api"),
        (f"https://{SECRET}@hub.example", "https://hub.example"),
        (f"https://a:{SECRET}@b@hub.example:99/x@y", "https://hub.example:99/x@y"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("hub.example", "hub.example"),
    ],
)
def test_the_address_of_a_hub_is_shown_without_a_password(url: str, shown: str) -> None:
    assert without_login(url) == shown


# --- The rule, in the source ----------------------------------------------------------

# Exceptions that may carry what was read.
CARRIERS = {
    "ValueError", "UnicodeError", "UnicodeDecodeError", "ValidationError", "KeyError",
    "TypeError", "AttributeError", "Exception", "BaseException",
}  # fmt: skip
# Where their words are wanted, and nothing secret was read: of libraries that refuse a model, a
# processor or an image, or of guards, which refuse what lab.toml says of them.
WANTED = {
    "guards/deny.py", "guards/loading.py", "models/converter.py", "runtimes/ct2.py",
    "runtimes/llamacpp.py", "tune/training.py",
    "engines/compose/images.py",
}  # fmt: skip


def carried() -> Iterator[str]:
    """Places where an exception that may carry what was read goes into a text as it is."""
    package = Path(llmlab.__file__).parent
    for file in sorted(package.rglob("*.py")):
        name = str(file.relative_to(package))
        for handler in ast.walk(ast.parse(file.read_text())):
            if not isinstance(handler, ast.ExceptHandler) or not handler.name:
                continue
            caught = {getattr(one, "id", getattr(one, "attr", ""))
                      for one in ast.walk(handler.type or handler)}  # fmt: skip
            for part in ast.walk(handler):
                if not isinstance(part, ast.FormattedValue):
                    continue
                if getattr(part.value, "id", "") != handler.name:
                    continue
                if part.conversion == ord("r") or (caught & CARRIERS and name not in WANTED):
                    yield f"{name}:{part.lineno}"


@pytest.mark.slow
def test_no_message_holds_an_exception_that_may_carry_what_was_read() -> None:
    assert list(carried()) == [], "llmlab.errors.unreadable says why, without it"
