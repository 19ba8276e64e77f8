"""Who asks while drills are on: streams of many who chat, and summaries for a few callers, whose
texts are about different things and of different lengths."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from llmlab.auth import Claims, KeyStore, mint
from llmlab.lab import Lab

CHAT, SUMMARIZE = "chat", "summarize"  # routes
ABOUT = "the syndicate"  # what a tenth of the texts is about
LONGER = 1000  # words that another tenth has more of; of the suite's texts a sixth has
CALLERS = tuple(f"caller-{n}" for n in range(20))  # of summaries, each as often
TALKERS = tuple(f"talker-{n}" for n in range(200))
THREADS = 4  # of each route
ROUND = 1.5  # seconds in which each caller asks for a summary once
WORDS = (
    "lamp", "sea", "ship", "coast", "keeper", "stone", "tower", "light", "storm", "harbour", "rope",
    "signal", "night", "rock", "wave", "fog", "bell", "oil", "lens", "captain",
)  # fmt: skip
ANSWER = '{"say": "one two three four five six seven eight nine ten", "pause": 0.005}'


@dataclass
class Clients:
    """Who asks on both routes until it is over. Nobody asks before they are answered."""

    url: str
    tokens: Mapping[str, str]
    over: threading.Event = field(default_factory=threading.Event)
    answered: Counter[str] = field(default_factory=Counter)

    def talk(self, place: int) -> None:
        body = {"model": CHAT, "stream": True, "messages": [{"role": "user", "content": ANSWER}]}
        with self._connected() as http:
            for _, subject in self._turns(TALKERS[place::THREADS], 0):
                self._ask(http, CHAT, "/v1/chat/completions", body, subject)

    def summarize(self, place: int) -> None:
        mine, chance = CALLERS[place::THREADS], random.Random(place)  # noqa: S311
        with self._connected() as http:
            for number, subject in self._turns(mine, ROUND / len(mine)):
                self._ask(http, SUMMARIZE, "/summarize/", {"text": text(number, chance)}, subject)

    def _connected(self) -> httpx2.Client:
        transport = httpx2.HTTPTransport(verify=False)  # no TLS here, and certificates take time
        return httpx2.Client(base_url=self.url, timeout=60, transport=transport)

    def _turns(self, subjects: Sequence[str], pause: float) -> Iterator[tuple[int, str]]:
        number = 0
        while not self.over.wait(pause):
            yield number, subjects[number % len(subjects)]
            number += 1

    def _ask(self, http: httpx2.Client, route: str, path: str, body: object, subject: str) -> None:
        try:
            http.post(path, json=body, headers={"Authorization": f"Bearer {self.tokens[subject]}"})
        except httpx2.HTTPError:
            return  # it is for the gate to see that
        self.answered[route] += 1


def text(number: int, chance: random.Random) -> str:
    """One that nobody has sent before: of each caller's every tenth is about something of its own,
    and every tenth is long."""
    kind = (number // len(CALLERS) * 7 + number) % 10
    about = ABOUT if kind == 0 else "the lamp"
    sentences = [
        f"The {' '.join(chance.choices(WORDS, k=7))} of {chance.randrange(10**6)}."
        for _ in range(LONGER // 10 if kind == 5 else 4)
    ]
    return " ".join([f"It is a report on {about}.", *sentences])


@contextmanager
def clients(lab: Lab, url: str) -> Iterator[Counter[str]]:
    """Both routes are asked while the body runs; how many answers there were, by route."""
    key = KeyStore(lab.keys_file).read().signing
    one = Clients(url, {who: mint(key, Claims(sub=who)) for who in (*CALLERS, *TALKERS)})
    asking = [
        threading.Thread(target=what, args=(place,))
        for what in (one.talk, one.summarize)
        for place in range(THREADS)
    ]
    for thread in asking:
        thread.start()
    try:
        yield one.answered
    finally:
        one.over.set()
        for thread in asking:
            thread.join(90)
