"""Keys and numbers that have every mark of real ones and are nobody's: made when a test runs, so
that no scanner of repositories takes a file for a leak."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator

from llmlab.guards.checksums import crc_digits, luhn, mod_11_10, mod_97

ALPHANUMERIC = string.ascii_letters + string.digits
URL_SAFE = ALPHANUMERIC + "-_"
Make = Callable[[random.Random], str]


def drawn(draw: random.Random, letters: str, count: int) -> str:
    return "".join(draw.choices(letters, k=count))


def checked(prefix: str) -> Make:
    """Like GitHub's: 30 characters and their checksum."""

    def make(draw: random.Random) -> str:
        part = drawn(draw, ALPHANUMERIC, 30)
        return prefix + part + crc_digits(part)

    return make


def plain(prefix: str, letters: str, count: int, end: str = "") -> Make:
    return lambda draw: prefix + drawn(draw, letters, count) + end


def jwt(draw: random.Random) -> str:
    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    head = part(
        {"alg": draw.choice(["HS256", "RS256"]), "typ": "JWT", "kid": drawn(draw, "abc", 4)}
    )
    return f"{head}.{part({'sub': drawn(draw, 'abcdef', 8), 'exp': 1})}.{drawn(draw, URL_SAFE, 43)}"


def private_key(draw: random.Random) -> str:
    kind = draw.choice(["RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""])
    lines = "\n".join(drawn(draw, ALPHANUMERIC + "+/", 64) for _ in range(draw.choice([3, 25])))
    dashes = "-" * 5
    return (
        f"{dashes}BEGIN {kind}PRIVATE KEY{dashes}\n{lines}\n{dashes}END {kind}PRIVATE KEY{dashes}"
    )


def slack(draw: random.Random) -> str:
    if draw.random() < 0.5:
        team, bot = drawn(draw, string.ascii_uppercase, 9), drawn(draw, string.ascii_uppercase, 9)
        where = "https://hooks." + "slack.com/services"
        return f"{where}/T{team}/B{bot}/{drawn(draw, ALPHANUMERIC, 24)}"
    numbers = f"{drawn(draw, string.digits, 12)}-{drawn(draw, string.digits, 12)}"
    return f"xo{'xb'}-{numbers}-{drawn(draw, ALPHANUMERIC, 24)}"


def openai(draw: random.Random) -> str:
    middle = "T3Blbk" + "FJ"
    if draw.random() < 0.5:
        return f"sk-{drawn(draw, ALPHANUMERIC, 20)}{middle}{drawn(draw, ALPHANUMERIC, 20)}"
    return f"sk-proj-{drawn(draw, URL_SAFE, 74)}{middle}{drawn(draw, ALPHANUMERIC, 74)}"


SECRETS: dict[str, Make] = {
    "aws": plain("AK" + "IA", string.ascii_uppercase + "234567", 16),
    "github": checked("gh" + "p_"),
    "npm": checked("npm" + "_"),
    "gitlab": plain("glpat" + "-", ALPHANUMERIC, 20),
    "slack": slack,
    "openai": openai,
    "anthropic": plain("sk-ant" + "-api03-", URL_SAFE, 93, "AA"),
    "llmlab": plain("sk-" + "llmlab-", ALPHANUMERIC, 43),
    "google": plain("AI" + "za", URL_SAFE, 34, "x"),
    "stripe": plain("sk_" + "live_", ALPHANUMERIC, 24),
    "huggingface": plain("hf" + "_", string.ascii_letters, 34),
    "jwt": jwt,
    "private-key": private_key,
}


def assigned(draw: random.Random) -> str:
    """A name, and the value that is found."""
    name = draw.choice(
        ["api_key = '", "API-KEY: ", '"client_secret": "', "password=", "authToken: "]
    )
    value = drawn(draw, ALPHANUMERIC, draw.choice([24, 32, 40]))
    return name + value + ("'" if "'" in name else '"' if name.endswith('"') else "")


def card(draw: random.Random) -> str:
    beginning, length = draw.choice([("4", 16), ("55", 16), ("2221", 16), ("37", 15), ("6011", 16)])
    body = beginning + drawn(draw, string.digits, length - len(beginning) - 1)
    number = next(body + last for last in string.digits if luhn(body + last))
    if length == 15:
        return draw.choice([number, f"{number[:4]} {number[4:10]} {number[10:]}"])
    groups = [number[place : place + 4] for place in range(0, 16, 4)]
    return draw.choice(["", " ", "-"]).join(groups)


def iban(draw: random.Random) -> str:
    country, length = draw.choice([("DE", 22), ("FR", 27), ("NL", 18), ("GB", 22), ("MT", 31)])
    body = drawn(draw, string.digits, length - 4)
    if country in ("NL", "GB"):
        body = drawn(draw, string.ascii_uppercase, 4) + body[4:]
    both = next(f"{n:02d}" for n in range(2, 99) if mod_97(f"{country}{n:02d}{body}"))
    number = country + both + body
    groups = [number[place : place + 4] for place in range(0, length, 4)]
    return draw.choice(["", " "]).join(groups)


def tax_id(draw: random.Random) -> str:
    """Germany's: of ten digits one is there twice, and one is not."""
    while True:
        digits = draw.sample(string.digits, 10)
        twice, gone = draw.sample(range(10), 2)
        digits[gone] = digits[twice]
        body = "".join(digits)
        if body[0] == "0":
            continue
        number = next(body + last for last in string.digits if mod_11_10(body + last))
        spaced = f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"
        return draw.choice([number, spaced])


def ssn(draw: random.Random) -> str:
    return f"SSN {draw.randint(100, 665)}-{draw.randint(10, 99)}-{draw.randint(1000, 9999)}"


def email(draw: random.Random) -> str:
    return f"{drawn(draw, string.ascii_lowercase, 8)}.b+c@mail.example.org"


PII: dict[str, Make] = {
    "card": card, "iban": iban, "de-tax-id": tax_id, "us-ssn": ssn, "email": email,
}  # fmt: skip


def samples(make: Make, count: int, seed: int = 1) -> Iterator[str]:
    draw = random.Random(seed)
    for _ in range(count):
        yield make(draw)
