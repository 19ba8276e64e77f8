"""Models elsewhere in a running lab: their keys are found nowhere but in their files, and the
ledger tells when what answers calls itself otherwise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llmlab.models.identity import short_id
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, wait_until
from tests.provider import Provider

BY_FILE, BY_ENVIRONMENT = "sk-file-9b1de04c5a7f4e21", "sk-env-c8307aa1f6d24b96"
SENTENCE = "A keeper lit the lamp at dusk, and a ship far out at sea read its light."


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[Provider, Provider]]:
    with Provider(key=BY_FILE) as one, Provider(key=BY_ENVIRONMENT) as other:
        yield one, other


@pytest.fixture(scope="module")
def far(
    make_lab: Callable[..., LabUnderTest], providers: tuple[Provider, Provider]
) -> LabUnderTest:
    """A running lab with two models elsewhere: the key of `near` is in a file, that of `far` was in
    the environment of `up`."""
    one = make_lab(gateway__rate_limit__enabled="false")
    file = one.root / "near.key"
    file.touch(0o600)
    file.write_text(BY_FILE + "\n")
    for name, provider, key in zip(
        ("near", "far"), providers, (("--key-file", str(file)), ("--key-env", "FAR_KEY")),
        strict=True,
    ):  # fmt: skip
        one.ok("models", "add-upstream", name, "--base-url", provider.url, "--model", "hello",
               *key, "--fallback", "textrank")  # fmt: skip
    models = ("--model", "textrank", "--model", "near", "--model", "far")
    done = one.run("up", *models, env={"FAR_KEY": BY_ENVIRONMENT})
    assert done.returncode == 0, done.stderr
    assert BY_FILE not in done.stdout + done.stderr
    assert BY_ENVIRONMENT not in done.stdout + done.stderr
    return one


def summary(lab: LabUnderTest, name: str, text: str = SENTENCE) -> tuple[str, str]:
    """What a model says, and the id of the request."""
    with lab.client() as client:
        answer = client.post(f"/models/{name}/summarize/", json={"text": text})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["summary"]), answer.headers["x-request-id"]


def kept(lab: LabUnderTest) -> Path:
    return lab.lab.state / "upstream-keys"


def test_they_answer_through_the_gateway(
    far: LabUnderTest, providers: tuple[Provider, Provider]
) -> None:
    for name, provider in zip(("near", "far"), providers, strict=True):
        assert summary(far, name)[0] == "A lamp lit at dusk."
        assert provider.chats[-1].headers["authorization"] == f"Bearer {provider.key}"


def test_their_keys_are_found_nowhere_but_in_their_files(far: LabUnderTest) -> None:
    summary(far, "near", "One more lamp.")
    summary(far, "far", "One more lamp.")
    found = {
        key: [
            file.relative_to(far.root).as_posix()
            for file in far.root.rglob("*")
            if file.is_file() and key.encode() in file.read_bytes()
        ]
        for key in (BY_FILE, BY_ENVIRONMENT)
    }
    assert found == {BY_FILE: ["near.key"], BY_ENVIRONMENT: [".llmlab/upstream-keys/FAR_KEY"]}
    assert (kept(far) / "FAR_KEY").stat().st_mode & 0o777 == 0o600
    outside = [file for file in far.lab.runtime_dir.rglob("*") if file.is_file()]
    told = [file.read_text(errors="replace") for file in outside]
    told += [
        far.ok(*verb)
        for verb in (
            ("config", "gateway"), ("config", "show"), ("status", "-o", "json"), ("logs",),
            ("ledger", "-o", "json"), ("models", "show", "near", "-o", "json"),
            ("models", "list", "-o", "json"), ("metrics", "-o", "prometheus"),
        )
    ]  # fmt: skip
    processes = [psutil.Process(one.pid) for one in lab_processes(far.lab.state)]
    assert len(processes) > 4
    for process in [*processes, *(child for one in processes for child in one.children(True))]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            told += [" ".join(process.cmdline()), json.dumps(process.environ())]
    for text in told:
        assert BY_FILE not in text
        assert BY_ENVIRONMENT not in text


def test_what_shows_an_id_says_that_it_is_elsewhere(far: LabUnderTest) -> None:
    _, request = summary(far, "far", "A lamp to be traced.")
    (one,) = (one for one in far.json("status")["deployments"] if one["name"] == "far")
    assert one["model_id"].startswith("elsewhere:")
    shown = short_id(one["model_id"])
    assert shown in far.ok("status")
    assert shown in far.ok("ledger", "--kind", "lab")
    trace = far.ok("trace", request)
    assert f"far@{shown}" in trace
    assert "which called itself hello fp_44709d6fcb" in trace


def test_what_answers_otherwise_is_one_entry_of_the_ledger(
    far: LabUnderTest, providers: tuple[Provider, Provider]
) -> None:
    def entries() -> list[dict[str, object]]:
        told = far.json("ledger", "--kind", "upstream")
        return [one["document"] for one in told if one["document"]["deployment"] == "near"]

    summary(far, "near", "The first lamp.")
    wait_until(lambda: bool(entries()), 30)
    assert entries()[0]["before"] is None
    providers[0].now = "renamed"
    try:
        summary(far, "near", "The second lamp.")
        wait_until(lambda: len(entries()) == 2, 30)
    finally:
        providers[0].now = ""
    assert entries()[1] == {
        "deployment": "near", "model": "llama-3.3-70b-0915", "fingerprint": "fp_0000000001",
        "before": {"model": "hello", "fingerprint": "fp_44709d6fcb"},
    }  # fmt: skip
    assert "near is answered by llama-3.3-70b-0915 (fp_0000000001), before: hello" in far.ok(
        "ledger", "--kind", "upstream"
    )


def test_a_wrong_key_is_no_fault_of_the_client_s_token(
    far: LabUnderTest, providers: tuple[Provider, Provider]
) -> None:
    providers[0].key = "another"
    try:
        with far.client() as client:
            answer = client.post("/models/near/summarize/", json={"text": "A wrong key."})
    finally:
        providers[0].key = BY_FILE
    assert answer.status_code == 502
    assert "refuses the key or the account of this lab" in answer.text
    assert BY_FILE not in answer.text


def test_a_key_is_replaced_without_a_restart(
    far: LabUnderTest, providers: tuple[Provider, Provider]
) -> None:
    before = {one["name"]: one["pid"] for one in far.json("status")["deployments"]}
    file, new = far.root / "near.key", "sk-file-0000000000000000"
    providers[0].key = new
    file.write_text(new + "\n")
    try:
        assert summary(far, "near", "A new key.")[0]
    finally:
        providers[0].key = BY_FILE
        file.write_text(BY_FILE + "\n")
    assert {one["name"]: one["pid"] for one in far.json("status")["deployments"]} == before


def test_a_key_of_the_environment_goes_with_the_last_deployment_that_reads_it(
    far: LabUnderTest,
) -> None:
    file = kept(far) / "FAR_KEY"
    far.ok("deploy", "far", "--name", "far-2")
    far.ok("up", "--model", "textrank", "--model", "near")
    assert file.exists(), "far-2 reads it still"
    assert summary(far, "far-2", "Another one.")[0]
    far.ok("deployment", "stop", "far-2")
    assert not file.exists()
    done = far.run("deploy", "far")
    assert (done.returncode, "Fix: export FAR_KEY=..." in done.stderr) == (4, True)
    models = ("--model", "textrank", "--model", "near", "--model", "far")
    assert far.run("up", *models, env={"FAR_KEY": BY_ENVIRONMENT}).returncode == 0


def test_the_next_up_needs_the_variable_no_more_and_down_forgets_the_key(
    far: LabUnderTest,
) -> None:
    models = ("--model", "textrank", "--model", "near", "--model", "far")
    far.ok("up", *models)
    assert summary(far, "far", "Once more.")[0]
    far.ok("down")
    assert not kept(far).exists()
    done = far.run("up", *models)
    assert done.returncode == 4
    assert "Fix: export FAR_KEY=..., then llmlab up" in done.stderr
    up = far.run("up", *models, env={"FAR_KEY": BY_ENVIRONMENT})  # for whichever test is next
    assert up.returncode == 0, up.stderr


def test_the_one_that_stands_in_is_deployed_as_well(far: LabUnderTest) -> None:
    done = far.run("up", "--model", "near", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "api-near" in done.stdout
    assert "api-textrank" in done.stdout
