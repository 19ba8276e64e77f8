"""Fixtures: real labs in temporary folders on free ports, and a tiny T5 made here."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import hypothesis
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmlab.auth import Claims, KeyStore, mint
from llmlab.engines.compose.images import BuiltImages
from llmlab.lab import Lab, init_lab
from llmlab.ledger.store import Store
from llmlab.models import convert
from llmlab.traffic import Deployed, Traffic
from tests import command, warm
from tests.sharing import once

if TYPE_CHECKING:
    from tests.api import Api

TEXTS = Path(__file__).parent / "texts"
# The machine may be busy: how long an example takes says nothing.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")


# Left out by `make test-quick`: tests with one of these fixtures, which run something or take
# seconds to make, and files whose tests start processes by themselves or work for long. Of other
# files, single tests are marked: those that start processes or take a third of a second.
SLOW = {"smollm2", "make_lab", "make_api", "make_tiny_lab", "tiny_t5", "small_t5", "images", "walk"}
SLOW_FILES = {
    "test_benchmarks", "test_class", "test_converting", "test_course_pages", "test_ctranslate2",
    "test_distribution", "test_draining", "test_evaluating", "test_gates", "test_load",
    "test_measures", "test_openai_at_the_gateway", "test_passing_on", "test_prometheus",
    "test_recording", "test_registry_killed", "test_report_browser", "test_rollout_killed",
    "test_rollout_statistics", "test_rollout_texts", "test_routes", "test_sentences",
    "test_service", "test_site", "test_tune_rounds", "test_waf",
}  # fmt: skip


# Begun first, the longest before the others: or everybody waits for them in the end.
LONG = (
    "test_equal_versions_are_promoted", "test_each_way_of_going_wrong_is_given_back",
    "test_no_request_fails_while_versions", "test_kill_9_at_thirty_moments",
    "test_the_delivery_notebook", "test_the_tuning_notebook", "test_the_notebook_of_judging",
    "test_a_class_of_five", "test_who_does_what_the_pages_say", "test_a_tune_that_is_killed",
    "test_the_share_of_beams", "test_early_stopping", "test_a_registered_model_is_tuned_further",
)  # fmt: skip


def _when(item: pytest.Item) -> int:
    names = [item.name.startswith(one) for one in LONG]
    return names.index(True) if any(names) else len(LONG)


def pytest_configure() -> None:
    warm.announce()
    if warm.is_announced(os.environ):
        convert.run = warm.convert  # type: ignore[assignment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_when)
    for item in items:
        slow = bool(SLOW & set(getattr(item, "fixturenames", ())))
        if slow or item.path.stem in SLOW_FILES:
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where NO_SKIPS is set, what a test lacks is a fault of the machine, and nothing is passed
    over: a test that skips, or is expected to fail, fails."""
    report = yield
    if os.environ.get("NO_SKIPS") and (report.skipped or hasattr(report, "wasxfail")):
        report.outcome = "failed"
    return report


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_env(**extra: str) -> dict[str, str]:
    """The environment without anything that could steer llmlab or the hub library."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LLMLAB_", "HF_", "TRANSFORMERS_"))
    }
    return kept | extra


@dataclass
class LabUnderTest:
    """A lab in a temporary folder, driven the way a person does: through the command."""

    root: Path
    port: int
    env: dict[str, str] = field(default_factory=clean_env)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lab(self) -> Lab:
        return Lab(self.root)

    def run(
        self, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command in the lab's folder; the caller looks at code and output."""
        return command.run(
            *arguments, cwd=self.root, env=self.env | (env or {}), stdin=stdin,
            timeout=900 if "build" in arguments else 240,
        )  # fmt: skip

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """Run the command, insist on exit code 0, and give its stdout."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"llmlab {arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "-o", "json"))

    def status(self) -> Any:
        """Its document, whether or not all of it is healthy."""
        return json.loads(self.run("status", "-o", "json").stdout)

    def bring(self, *deployed: str) -> None:
        """To these models deployed, and no routes, whatever a test before has left: by the same
        way as verbs, but with no process for each."""
        from llmlab.delivery import applying

        wanted, store = Traffic(tuple(Deployed(one, one) for one in deployed)), Store(self.lab)
        if store.traffic().at(0) != wanted:
            store.change("route", {"did": "test"}, lambda now: wanted.at(now.revision))
        applying.apply(self.lab, lambda _: None)

    def token(self, sub: str = "tester", **claims: Any) -> str:
        return mint(KeyStore(self.lab.keys_file).read().signing, Claims(sub=sub, **claims))

    def traced(self, request_id: str) -> Any:
        """What the logs say of a request: they follow the answer, once all of it is over."""
        deadline = time.monotonic() + 15
        while (done := self.run("trace", request_id, "-o", "json")).returncode == 1:
            assert time.monotonic() < deadline, done.stderr
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)
        return found

    def metric(self, deployment: str, name: str, **labels: str) -> float:
        """The sum of a deployment's samples of this name that have these labels."""
        # No TLS here, and reading the certificates takes its time.
        over = httpx2.HTTPTransport(uds=str(self.lab.api_socket(deployment)), verify=False)
        with httpx2.Client(transport=over, base_url="http://api", timeout=20) as client:
            families = text_string_to_metric_families(client.get("/metrics").text)
            return sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )

    def client(self, sub: str = "tester") -> httpx2.Client:
        """A plain HTTP client with a token, as any application would have."""
        headers = {"Authorization": f"Bearer {self.token(sub)}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)


def wait_until(true: Callable[[], bool], seconds: float = 15.0) -> float:
    """Wait for something to become true; gives the seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - start


def answers(lab: LabUnderTest) -> bool:
    try:
        return httpx2.get(f"{lab.url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def configure(root: Path, port: int, **values: str) -> None:
    """Set values in a lab's lab.toml, given as TOML text under their dotted path with ``__``."""
    import re

    file = root / "configs" / "lab.toml"
    text = file.read_text()
    for path, value in {"gateway__port": str(port), **values}.items():
        *section, key = path.split("__")
        head = f"[{'.'.join(section)}]" if section else ""
        start = text.index(head) + len(head)
        before, rest = text[:start], text[start:]
        changed, count = re.subn(rf"(?m)^{key} = [^#\n]*", f"{key} = {value} ", rest, count=1)
        assert count == 1, f"no {path} in lab.toml"
        text = before + changed
    file.write_text(text)


# The embedded model alone, which nothing has to be fetched for; and no console, whose process most
# tests do not ask for.
EMBEDDED = {"routes__summarize": '"textrank"', "routes__chat": '""', "console__enabled": '"off"'}


def lay_out(folders: pytest.TempPathFactory, **values: str) -> LabUnderTest:
    """A lab on a free port that is not up; see ``make_lab`` for ``values``."""
    port = free_port()
    # A name of its own among all test processes: Compose names networks after it.
    root = folders.mktemp(f"lab-{port}-")
    init_lab(root)
    configure(root, port, **(EMBEDDED | values))
    return LabUnderTest(root, port)


@pytest.fixture(scope="module")
def make_lab(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., LabUnderTest]]:
    """Lay out a lab on a free port; it is brought down with the module, whatever happens.

    ``values`` go into lab.toml: ``make_lab(fallback='""', gateway__rate_limit__burst="3")``.
    """
    made: list[LabUnderTest] = []

    def make(**values: str) -> LabUnderTest:
        made.append(lay_out(tmp_path_factory, **values))
        return made[-1]

    yield make
    for one in made:
        one.run("down")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> BuiltImages:
    """Images for the containers, with the embedded model only: no torch to fetch.

    The tag is this checkout's own: tests of another one may run at the same time.
    """
    tag = f"test-{hashlib.sha256(str(Path(__file__).parent).encode()).hexdigest()[:8]}"

    def build(root: Path) -> None:
        init_lab(root)
        done = LabUnderTest(root, 0).run(
            "build", "--extra", "none", "--tag", tag, "--progress", "plain"
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return BuiltImages.read(Lab(once(tmp_path_factory, "images", build)))


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A running lab with the embedded model and no rate limit, shared by a module."""
    one = make_lab(gateway__rate_limit__enabled="false")
    one.ok("up")
    return one


@pytest.fixture(scope="module")
def make_api() -> Iterator[Callable[..., Api]]:
    """Make an API that is not started yet; it ends with the module."""
    from tests.api import Api

    made: list[Api] = []

    def make(*arguments: Any, **service: Any) -> Api:
        made.append(Api(*arguments, **service))
        return made[-1]

    yield make
    for api in made:
        api.stop()


@pytest.fixture(scope="session")
def article() -> str:
    """A text of more than 1,000 words."""
    return (TEXTS / "lighthouses.txt").read_text()


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory, article: str) -> Path:
    """A T5 of some 100 kB with a tokenizer of its own, laid out like a hub snapshot."""
    from tests.tiny import make_tiny_t5

    return once(tmp_path_factory, "tiny-t5", lambda folder: make_tiny_t5(folder, article))


@pytest.fixture(scope="session")
def small_t5(tmp_path_factory: pytest.TempPathFactory, article: str) -> Path:
    """A T5 of 242 MB; converting it takes some seconds."""
    from tests.tiny import make_small_t5

    return once(tmp_path_factory, "small-t5", lambda folder: make_small_t5(folder, article))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A folder with a real language model of 98 MB, as GGUF."""
    from tests.language import smollm2_folder

    return smollm2_folder()


TINY = """
[models.tiny]
runtime = "{runtime}"
source = "path:{folder}"
"""


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where models are converted, each once for all tests."""
    return once(tmp_path_factory, "home", lambda folder: None)


@pytest.fixture(scope="module")
def make_tiny_lab(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, tiny_home: Path
) -> Callable[..., LabUnderTest]:
    """Make a lab without a rate limit whose stable model is the tiny T5; the embedded model runs
    beside it. It is not up yet. With the runtime ``transformers`` it is slower, but stops at once
    when nobody waits any more."""

    def make(runtime: str = "ctranslate2", **values: str) -> LabUnderTest:
        tiny = {"routes__summarize": '"tiny"', "deploy": '["textrank"]'}
        one = make_lab(**tiny, gateway__rate_limit__enabled="false", **values)
        with (one.root / "configs" / "lab.toml").open("a") as config:
            config.write(TINY.format(runtime=runtime, folder=tiny_t5))
        one.env["LLMLAB_HOME"] = str(tiny_home)
        return one

    return make
