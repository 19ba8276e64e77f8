"""Two minutes of steady load while everything about the traffic changes: nothing is lost.

Twenty clients on keep-alive connections, as many subjects as a class has pupils and more. Meant
to take its time, so it is not one of `make test`: make test-delivery.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest

from llmlab.engines.local.supervisor import Supervisor
from llmlab.flags.split import side
from tests.conftest import LabUnderTest, wait_until
from tests.summarizing import route_of
from tests.test_engines import Make, Running, make  # noqa: F401  a fixture
from tests.test_rollout_lab import consistent, last, status, taken
from tests.test_rollout_lab import load as trickle
from tests.two_engines import engine  # noqa: F401  a fixture

pytestmark = pytest.mark.delivery
CLIENTS, SUBJECTS, AT_LEAST = 20, 200, 120.0  # seconds
KILLS = 30
MANY = 4000  # subjects whose split is counted: 2 points are then 2.5 standard deviations at 50 %
ASKED = 500  # of them, that ask: each has to be on the very side that was computed
SECOND = """
[models.second]
runtime = "extractive"
source = "embedded:textrank"
"""


@dataclass
class Load:
    """Clients that ask again as soon as they are answered, until told to stop."""

    url: str
    tokens: dict[str, str]
    answered: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        draw = random.Random(number)
        subjects = list(self.tokens)
        async with httpx2.AsyncClient(base_url=self.url, timeout=60, trust_env=False) as http:
            while not self.over.is_set():
                subject = draw.choice(subjects)
                body = json.dumps({"text": _text(draw), "max_length": 20})
                headers = {"Authorization": f"Bearer {self.tokens[subject]}"}
                try:
                    answer = await http.post("/summarize/", content=body, headers=headers)
                    self.answered[str(answer.status_code)] += 1
                except httpx2.HTTPError as error:
                    self.answered[type(error).__name__] += 1
                await asyncio.sleep(0.05)  # as steady as the machine allows, not as fast


WORDS = (
    "lamp", "sea", "ship", "coast", "keeper", "stone", "tower", "light", "storm", "harbour", "rope",
    "signal", "night", "rock", "wave", "fog", "bell", "oil", "lens", "captain",
)  # fmt: skip


def _text(draw: random.Random) -> str:
    """Twelve sentences that nobody has sent before."""
    return " ".join(f"The {' '.join(draw.choices(WORDS, k=9))}." for _ in range(12))


@contextmanager
def steady_load(running: Running) -> Iterator[Load]:
    lab = running.lab
    tokens = {f"pupil-{number}": lab.token(f"pupil-{number}") for number in range(SUBJECTS)}
    load = Load(lab.url, tokens)
    thread = threading.Thread(target=load.run)
    begin = time.monotonic()
    thread.start()
    try:
        yield load
        time.sleep(max(0.0, AT_LEAST - (time.monotonic() - begin)))
    finally:
        load.over.set()
        thread.join()


def test_no_request_fails_while_versions_come_and_go(make: Make) -> None:  # noqa: F811
    running = make(
        rollout__interval="3", rollout__progress_deadline="300", rollout__text_gate='""',
        rollout__probe_rate="4.0", rollout__error_margin="0.05", rollout__bake="5",
    )  # fmt: skip
    lab = running.lab
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    with steady_load(running) as load:
        lab.ok("deploy", "second")
        lab.ok("rollout", "start", "canary", "second", "--steps", "5,25,50,100")
        lab.ok("rollout", "status", "--timeout", "300")
        assert _weights(lab) == {"second": 100}
        _check_that_everybody_stayed(running, 1)  # now: Docker keeps the newest 30 MB of a log
        lab.ok("rollout", "undo")
        lab.ok("rollout", "status", "--timeout", "60")
        assert _weights(lab) == {"textrank": 100}
        lab.ok("rollout", "start", "bluegreen", "second")
        _wait_for_the_preview(running)
        lab.ok("rollout", "promote")
        lab.ok("rollout", "status", "--timeout", "60")
        for setting in (("--on",), ("--percent", "10"), ("--off",)):
            lab.ok("flag", "set", "terse", *setting, "--max-length", "15")
        for _ in range(50):
            _reload(running)
            time.sleep(0.2)
        lab.ok("rollout", "undo")
        lab.ok("rollout", "status", "--timeout", "60")
    assert set(load.answered) == {"200"}, load.answered
    assert load.answered["200"] > 1000
    assert lab.run("ledger", "verify").returncode == 0


def test_the_split_is_what_was_asked_for_and_nobody_moves_back(make: Make) -> None:  # noqa: F811
    running = make(rollout__text_gate='""')
    lab = running.lab
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    lab.ok("rollout", "start", "canary", "second", "--steps", "5,25,50,100", "--interval", "1h",
           "--progress-deadline", "9h")  # fmt: skip
    subjects = [f"subject-{n}" for n in range(MANY)]
    before: set[str] = set()
    for percent in (5, 25, 50):
        _wait_for_weight(lab, percent)
        split = route_of(taken(lab)).split
        assert split
        there = {one for one in subjects if side(f"{split.salt}:{one}", [percent]) is not None}
        assert abs(100 * len(there) / MANY - percent) < 2, (percent, len(there) / MANY)
        assert before <= there
        before = there
        served = asyncio.run(_who_serves(lab, subjects[:ASKED]))
        assert {one for one, name in served.items() if name == "second"} == there & set(served)
        lab.ok("rollout", "promote")


def test_kill_9_at_thirty_moments_ends_in_a_consistent_state_each_time(make: Make) -> None:  # noqa: F811
    running = make(
        rollout__text_gate='""', rollout__min_samples="10", rollout__interval="4",
        rollout__error_margin="0.05", rollout__bake="2",
    )  # fmt: skip
    lab = running.lab
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    chance, killed = random.Random(6), 0
    ended: Counter[int] = Counter()
    with trickle(lab, rate=40):
        while killed < KILLS:
            lab.ok("rollout", "start", "canary", "second", "--steps", "20,50,100")
            while killed < KILLS and not last(lab).over:  # type: ignore[union-attr]
                time.sleep(chance.uniform(0.2, 2.0))
                killed += _kill_9(running, ("controller", "gateway", "second")[killed % 3])
            code, told = status(lab)
            if code == 1:  # paused, for a person
                lab.ok("rollout", "abort")
                code, told = status(lab)
            assert code in (0, 8), told
            ended[code] += 1
            wait_until(lambda: lab.run("status").returncode == 0, 60)
            consistent(lab)
            if code == 0:
                lab.ok("rollout", "undo")
                assert status(lab)[0] == 0
                consistent(lab)
    print(f"{killed} kills; rollouts by exit code of `rollout status`: {dict(ended)}")


def _kill_9(running: Running, what: str) -> bool:
    """Returns whether there was something to kill."""
    with contextlib.suppress(ProcessLookupError, subprocess.CalledProcessError, IndexError):
        if what == "controller":
            pid = Supervisor(running.lab.lab).state("controller").pid
            if pid is None:
                return False
            os.kill(pid, signal.SIGKILL)
            return True
        if what == "gateway":
            running.kill("gateway")
            return True
        one = running.api(what)
        if one and running.engine == "compose":
            subprocess.run(["docker", "kill", one], check=True, capture_output=True)
        elif one:
            os.kill(int(one), signal.SIGKILL)
        return bool(one)
    return False


async def _who_serves(lab: LabUnderTest, subjects: list[str]) -> dict[str, str]:
    """Which deployment answers each of them."""
    waiting, served = iter(subjects), {}

    async def client() -> None:
        async with httpx2.AsyncClient(base_url=lab.url, timeout=60, trust_env=False) as http:
            for subject in waiting:
                headers = {"Authorization": f"Bearer {lab.token(subject)}"}
                answer = await http.post("/summarize/", json={"text": "One. Two."}, headers=headers)
                assert answer.status_code == 200
                served[subject] = answer.headers["X-Model"].partition("@")[0]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return served


def _weights(lab: LabUnderTest) -> dict[str, float]:
    # Its exit code says whether all is well, which it is not while a candidate starts.
    told = lab.status()
    return {one["name"]: one["weight"] for one in told["deployments"] if one["weight"]}


def _wait_for_weight(lab: LabUnderTest, percent: int) -> None:
    wait_until(lambda: _weights(lab).get("second") == percent, 120)


def _wait_for_the_preview(running: Running) -> None:
    """Until the gate has passed, and a person may switch."""
    done = running.lab.run("rollout", "status", "--timeout", "300")
    assert done.returncode == 1, done.stderr + done.stdout


def _reload(running: Running) -> None:
    """A reload by hand, as an operator would."""
    if running.engine == "local":
        masters = [one for one in running._processes("nginx: master") if one.is_running()]
        masters[0].send_signal(signal.SIGHUP)
        return
    of_it = [f"--filter=label=com.docker.compose.project.working_dir={running.lab.root}",
             "--filter=label=com.docker.compose.service=nginx"]  # fmt: skip
    found = subprocess.run(
        ["docker", "ps", "-q", *of_it], capture_output=True, text=True, check=True
    )
    conf = "/etc/nginx/lab/current/nginx.conf"
    reload = ["nginx", "-p", "/run/llmlab", "-c", conf, "-s", "reload"]
    subprocess.run(["docker", "exec", found.stdout.strip(), *reload], check=True)


def _check_that_everybody_stayed(running: Running, rollout: int) -> None:
    """While the weight of a canary rises, a subject moves to it once, and never back."""
    entries = running.lab.json("ledger", "show", "--kind", "route", "--last", "1000")
    # Not by step: at the end of the last one, those that were held back move as well.
    of_it = {one["seq"] for one in entries
             if one["document"].get("rollout") == rollout and one["document"]["step"]}  # fmt: skip
    from llmlab.engines.choice import engine_named

    lines, _ = engine_named(running.engine, running.lab.lab).requests_since("0")
    seen: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for line in map(json.loads, lines):
        revision, rule = int(line["revision"]), line["rule"]
        known = revision in of_it and rule in ("split", "stable")
        if known and line["subject"].startswith("pupil"):
            seen[line["subject"]].append((line["at"], revision, line["deployment"]))
    assert len(seen) > SUBJECTS / 2
    for subject, requests in seen.items():
        by_revision: dict[int, set[str]] = defaultdict(set)
        for _, revision, deployment in requests:
            by_revision[revision].add(deployment)
        assert all(len(found) == 1 for found in by_revision.values()), (subject, dict(by_revision))
        order = [next(iter(by_revision[revision])) for revision in sorted(by_revision)]
        moves = [one for one, after in itertools.pairwise(order) if one != after]
        assert "second" not in moves, (subject, order)
