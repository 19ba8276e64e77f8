"""The gate on a running lab: what is broken is given back by itself, and what is not is promoted.

By the rules that lab.toml is shipped with, but for their times. Not one of `make test`:
make test-delivery.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import httpx2
import pytest

from llmlab.auth import Claims, KeyStore, mint
from llmlab.delivery.store import Store
from tests.conftest import LabUnderTest, wait_until
from tests.test_delivery_under_load import SECOND
from tests.test_engines import Make, Running, engine, make  # noqa: F401  fixtures
from tests.test_rollout_lab import last, load, status

pytestmark = pytest.mark.delivery

DRILLS = [
    ("errors", "--share", "4"), ("errors", "--share", "20"), ("crash", "--share", "5"),
    ("slow", "--seconds", "0.5"), ("worse-text",),
]  # fmt: skip
CLIENTS = 40


def test_whatever_is_broken_is_given_back_by_itself(make: Make) -> None:  # noqa: F811
    running = make(rollout__interval="5", rollout__progress_deadline="150", rollout__bake="20")
    lab = running.lab
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    with load(lab) as told:
        wait_until(lambda: told.statuses[200] > 200, 60)  # what is usual
        for drill in DRILLS:
            lab.ok("deploy", "second")
            lab.ok("drill", *drill, "--deployment", "second")
            lab.ok("rollout", "start", "canary", "second", "--steps", "25,50,100")
            code, said = status(lab, "200s")
            one = last(lab)
            assert one and not one.promoted and code in (1, 8), (drill, said)
            assert Store(lab.lab).traffic().weights("textrank").get("second", 0) < 25, (drill, said)
            print(f"{' '.join(drill)}: {one.phase} at step {one.step}: {said.splitlines()[-1]}")
            if code == 1:
                lab.ok("rollout", "abort")
                status(lab)
            lab.ok("undeploy", "second")


@contextmanager
def closed_loop(lab: LabUnderTest, subjects: int, zipf: bool) -> Iterator[Counter[int | str]]:
    """Clients that ask again once they are answered; the n-th subject 1/n as often as the
    first, with texts of its own length, or all the same."""
    told: Counter[int | str] = Counter()
    key, over, number = KeyStore(lab.lab.keys_file).read().signing, threading.Event(), count()
    tokens = [mint(key, Claims(sub=f"caller-{n}")) for n in range(subjects)]
    shares = [1 / (n + 1) if zipf else 1.0 for n in range(subjects)]

    def ask(place: int) -> None:
        chance = random.Random(place)
        with httpx2.Client(base_url=lab.url, timeout=60, trust_env=False) as client:
            while not over.is_set():
                (who,) = chance.choices(range(subjects), shares)
                length = 1 + 3 * (who % 7) if zipf else 3
                text = " ".join(
                    f"The keeper lit lamp {next(number)} at dusk and ship {n} saw it from afar."
                    for n in range(length)
                )
                try:
                    answer = client.post(
                        "/summarize/", json={"text": text},
                        headers={"Authorization": f"Bearer {tokens[who]}"},
                    )  # fmt: skip
                    told[answer.status_code] += 1
                except httpx2.HTTPError as error:
                    told[type(error).__name__] += 1
                over.wait(0.02)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
    for one in threads:
        one.start()
    try:
        yield told
    finally:
        over.set()
        for one in threads:
            one.join(90)


@pytest.mark.parametrize(
    ("subjects", "zipf", "holdback"),
    [(200, False, "5"), (20, True, "20")],
    ids=["a closed loop", "20 subjects by Zipf"],
)
def test_a_twin_is_promoted_while_clients_ask_as_fast_as_they_can(
    make_lab: Callable[..., LabUnderTest], subjects: int, zipf: bool, holdback: str
) -> None:
    lab = make_lab(
        gateway__rate_limit__enabled="false", rollout__interval="5", rollout__bake="5",
        rollout__progress_deadline="600", rollout__holdback=holdback, rollout__text_gate='""',
    )  # fmt: skip
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    with closed_loop(lab, subjects, zipf) as told:
        wait_until(lambda: told[200] > 60 * subjects, 120)  # what is usual for each
        lab.ok("rollout", "start", "canary", "second", "--steps", "25,50,100")
        code, said = status(lab, "230s")
        assert code == 0, said
    assert set(told) <= {200, 429}, told  # so many clients may find no place, at either
    one = last(lab)
    assert one and one.promoted == "second"
    print(f"{subjects} subjects: {one.ended - one.created:.0f} s, {told[200]} requests: {said}")
