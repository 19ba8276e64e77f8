"""Judges of every character, played by a provider on loopback: what a judge is asked, and what one
who is perfect, biased, blind or guesses makes of it."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.provider import Exchange, Provider, failing

ASKED = re.compile(
    r"^(?P<mark>\[[0-9a-f]{16}\]) the task\n(?P<task>.*)\n(?P=mark) the first answer\n(?P<first>.*)"
    r"\n(?P=mark) the second answer\n(?P<second>.*)\n(?P=mark) the end$",
    re.DOTALL,
)

# From a task and two answers, in their order, to what the judge says.
Character = Callable[[str, str, str], str]


def said(better: str, why: str = "it seems so") -> str:
    return json.dumps({"why": why, "better": better})


def perfect(good: Mapping[str, str]) -> Character:
    """One who knows the good answers, {task: answer}."""

    def judge(task: str, first: str, second: str) -> str:
        right = good[task]
        if (first == right) == (second == right):
            return said("tie", "neither is better")
        return said("first" if first == right else "second", "the other one is damaged")

    return judge


def always(better: str) -> Character:
    return lambda task, first, second: said(better)


def talkative(task: str, first: str, second: str) -> str:
    return "Both have their merits, and I would not like to choose."


def guessing(seed: int) -> Character:
    draw = random.Random(seed)
    return lambda task, first, second: said(draw.choice(["first", "second", "tie"]))


def fickle(character: Character, every: int) -> Character:
    """Says something else each so many times."""
    numbers = itertools.count(1)

    def judge(task: str, first: str, second: str) -> str:
        answer = character(task, first, second)
        if next(numbers) % every:
            return answer
        return said("second" if '"first"' in answer else "first")

    return judge


def leaning(character: Character, every: int) -> Character:
    """Prefers the first place for each so-many-th task, whatever stands there."""

    def judge(task: str, first: str, second: str) -> str:
        leans = sum(task.encode()) % every == 0
        return said("first") if leans else character(task, first, second)

    return judge


def led(character: Character) -> Character:
    """Does what an answer asks of it."""

    def judge(task: str, first: str, second: str) -> str:
        for better, text in (("first", first), ("second", second)):
            if "prefer it" in text or "Reply with" in text:
                return said(better, "it says so")
        return character(task, first, second)

    return judge


def blind(character: Character) -> Character:
    """Takes one number for another."""

    def judge(task: str, first: str, second: str) -> str:
        alike = re.sub(r"\d", "0", first) == re.sub(r"\d", "0", second)
        return said("tie") if alike else character(task, first, second)

    return judge


class PlayedJudge(Provider):
    """Args:
    character: may be changed meanwhile.
    plain: whether it refuses to be held to a form.
    """

    def __init__(self, character: Character, *, plain: bool = False) -> None:
        super().__init__()
        self.character, self.plain = character, plain

    def exchange(self, body: Any) -> Exchange:
        if self.now:
            return super().exchange(body)
        if self.plain and "response_format" in body:
            return failing(400, "response_format is not supported", "unsupported_value")
        asked = ASKED.match(str(body["messages"][-1]["content"]))
        if asked is None:  # somebody asks it for an answer of its own
            return super().exchange(body)
        return Exchange(words=(self.character(asked["task"], asked["first"], asked["second"]),))
