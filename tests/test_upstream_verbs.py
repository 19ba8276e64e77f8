"""Models elsewhere in a lab that is not up: writing one into lab.toml, trying it, and its id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Model, load_config
from llmlab.config.edit import with_model
from llmlab.engines.base import Plan
from llmlab.engines.compose import mounts
from llmlab.engines.compose.command import OVERRIDE
from llmlab.engines.compose.upstreams import forget_upstreams
from llmlab.engines.planning import make_plan
from llmlab.engines.probe import Told
from llmlab.engines.record import Record
from llmlab.engines.upstreams import Watch, keep_keys
from llmlab.errors import UsageError
from llmlab.ledger import telling
from llmlab.ledger.store import Store
from llmlab.ledger.upstreams import MOST, take_note
from llmlab.models.identity import elsewhere_id, is_hashed, short_id
from llmlab.upstreams.trying import Outcome, try_upstream
from tests.conftest import LabUnderTest, free_port, lay_out
from tests.provider import Provider

KEY = "sk-test-4f1c9a77d2e84b0e"
GROQ = ("--base-url", "https://api.groq.com/openai/v1", "--model", "llama-3.3-70b")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LabUnderTest:
    """A lab whose lab.toml each test finds as it was laid out."""
    return lay_out(tmp_path_factory)


@pytest.fixture
def quiet(plain: LabUnderTest) -> Iterator[LabUnderTest]:
    before = plain.lab.config_file.read_text()
    yield plain
    plain.lab.config_file.write_text(before)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as one:
        yield one


def key_file(lab: LabUnderTest, mode: int = 0o600) -> Path:
    file = lab.root / "groq.key"
    file.write_text(KEY + "\n")
    file.chmod(mode)
    return file


# --- llmlab models add-upstream -------------------------------------------------------


def test_a_model_elsewhere_is_added_to_lab_toml_and_nothing_else_of_it_changes(
    quiet: LabUnderTest,
) -> None:
    before = quiet.lab.config_file.read_text()
    key_file(quiet)
    shown = quiet.json(
        "models", "add-upstream", "groq", *GROQ, "--key-file", "groq.key",
        "--header", "X-Team=lighthouse", "--context", "131072", "--fallback", "textrank",
    )  # fmt: skip
    after = quiet.lab.config_file.read_text()
    assert after.startswith(before)
    assert after.removeprefix(before).strip() == (
        "[models.groq]\n"
        'runtime = "openai"\n'
        'base_url = "https://api.groq.com/openai/v1"\n'
        'model = "llama-3.3-70b"\n'
        'key_file = "groq.key"\n'
        'headers = {X-Team = "lighthouse"}\n'
        "context = 131072\n"
        'fallback = "textrank"'
    )
    assert shown["id"].startswith("elsewhere:")
    assert KEY not in after


def test_what_was_added_is_said_as_lab_toml_has_it(quiet: LabUnderTest) -> None:
    key_file(quiet)
    done = quiet.run("models", "add-upstream", "groq", *GROQ, "--key-file", "groq.key")
    assert "[models.groq] is in configs/lab.toml" in done.stderr


def test_a_name_that_is_taken_is_refused(quiet: LabUnderTest) -> None:
    before = quiet.lab.config_file.read_text()
    done = quiet.run("models", "add-upstream", "textrank", *GROQ)
    assert done.returncode == 2
    assert "lab.toml has a model textrank already" in done.stderr
    assert quiet.lab.config_file.read_text() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--base-url", "ftp://x/v1", "--model", "m"), "base_url should look like https://HOST/v1"),
        (("--base-url", "https://sk-1@x/v1", "--model", "m"), "base_url must not hold a key"),
        (("--base-url", "https://x/v1?key=sk-1", "--model", "m"), "base_url must not hold a key"),
        (("--base-url", "https://x:port/v1", "--model", "m"), "https://HOST:PORT/v1"),
        ((*GROQ, "--key-env", "gsk_4f1c9a77"), "key_env should be the name of an environment"),
        ((*GROQ, "--header", "Authorization=Bearer sk-1"), "a key goes into key_file"),
        ((*GROQ, "--header", "X-Team"), "it takes NAME=VALUE"),
        ((*GROQ, "--key-file", "groq.key", "--key-env", "GROQ_KEY"), "exclude each other"),
        ((*GROQ, "--key-file", "nowhere.key"), "the key of groq cannot be read"),
        ((*GROQ, "--fallback", "nobody"), "no model 'nobody' is defined"),
        ((*GROQ, "--fallback", "groq"), "groq has a fallback itself"),
        (("--base-url", "http://x/v1", "--model", "m", "--key-env", "A_KEY"), "use https"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_written(
    quiet: LabUnderTest, options: tuple[str, ...], said: str
) -> None:
    before = quiet.lab.config_file.read_text()
    key_file(quiet)
    done = quiet.run("models", "add-upstream", "groq", *options)
    assert (done.returncode, said in done.stderr) in [(2, True), (4, True)], done.stderr
    # What may be a key is not told again.
    assert "sk-1" not in done.stderr
    assert "gsk_" not in done.stderr
    assert quiet.lab.config_file.read_text() == before


def test_a_key_that_others_may_read_is_not_added(quiet: LabUnderTest) -> None:
    file = key_file(quiet, 0o644)
    done = quiet.run("models", "add-upstream", "groq", *GROQ, "--key-file", "groq.key")
    assert done.returncode == 4
    assert f"Fix: chmod 600 {file}" in done.stderr


def test_the_first_table_of_models_would_hide_those_that_are_built_in() -> None:
    with pytest.raises(UsageError, match="no table"):
        with_model('stable = "textrank"\n', "groq", {})


# --- its id ----------------------------------------------------------------------------


def test_an_id_covers_all_that_is_asked_and_says_that_nobody_knows_what_answers() -> None:
    one = elsewhere_id("https://x/v1", "m", "prompt", {"temperature": 0.2})
    assert one == elsewhere_id("https://x/v1/", "m", "prompt", {"temperature": 0.2})
    others = {
        elsewhere_id("https://y/v1", "m", "prompt", {"temperature": 0.2}),
        elsewhere_id("https://x/v1", "n", "prompt", {"temperature": 0.2}),
        elsewhere_id("https://x/v1", "m", "another", {"temperature": 0.2}),
        elsewhere_id("https://x/v1", "m", "prompt", {"temperature": 0.3}),
    }
    assert len({one, *others}) == 5
    assert one.startswith("elsewhere:")
    assert len(one) == len("elsewhere:") + 64
    assert short_id(one) == one[:22]
    assert not is_hashed(one)
    assert is_hashed("sha256:" + 64 * "0")


def test_list_and_show_say_that_it_is_elsewhere(quiet: LabUnderTest) -> None:
    added = quiet.json("models", "add-upstream", "groq", *GROQ)
    (row,) = (one for one in quiet.json("models", "list") if one["name"] == "groq")
    assert (row["id"], row["ready"], row["runtime"]) == (added["id"], True, "openai")
    assert "elsewhere" in quiet.ok("models", "list")
    page = quiet.ok("models", "show", added["id"][:22])
    assert added["id"] in page
    assert "what answers elsewhere cannot be hashed" in page
    assert "https://api.groq.com/openai/v1" in page
    assert "elsewhere" in quiet.run("models", "pull", "groq").stderr


def test_what_needs_a_hash_refuses_it_in_words(quiet: LabUnderTest) -> None:
    added = quiet.json("models", "add-upstream", "groq", *GROQ)
    for arguments in (("verify", "groq"), ("verify", added["id"]), ("tag", added["id"], "best")):
        done = quiet.run("models", *arguments)
        assert done.returncode == 2
        assert "cannot be hashed" in done.stderr
    with pytest.raises(ValueError, match="no content that could be hashed"):
        Model(runtime="openai", base_url="https://x/v1", model="m", content_id="sha256:" + 64 * "0")
    assert "nothing of it to bake in" in quiet.run("build", "--with-model", "groq").stderr


# --- llmlab doctor -----------------------------------------------------------------------


def tried(lab: LabUnderTest, url: str, model: str = "hello", **more: str) -> tuple[Outcome, str]:
    one = Model(runtime="openai", base_url=url, model=model, **more)  # type: ignore[arg-type]
    found = try_upstream("far", one, lab.lab, {"FAR_KEY": KEY}, deadline=1)
    assert (found.outcome is Outcome.WELL) == (not found.fix)
    assert KEY not in found.message + found.fix
    return found.outcome, found.message


def test_doctor_tries_what_is_elsewhere(plain: LabUnderTest, provider: Provider) -> None:
    assert tried(plain, provider.url) == (Outcome.WELL, f"hello at {provider.url}")
    provider.key = KEY
    key_file(plain)
    assert tried(plain, provider.url, key_file="groq.key")[0] is Outcome.WELL
    assert tried(plain, provider.url, key_env="FAR_KEY")[0] is Outcome.WELL
    assert "wants a key (401)" in tried(plain, provider.url)[1]
    provider.key = "another"
    outcome, said = tried(plain, provider.url, key_file="groq.key")
    assert (outcome, "refuses the key of models.far (401)" in said) == (Outcome.WRONG, True)


def test_doctor_says_which_name_was_probably_meant(plain: LabUnderTest, provider: Provider) -> None:
    outcome, said = tried(plain, provider.url, "helo")
    assert outcome is Outcome.UNCERTAIN
    assert "does not list 'helo'; did you mean 'hello'?" in said


def test_doctor_tells_why_something_cannot_be_reached(plain: LabUnderTest, tmp_path: Path) -> None:
    assert "cannot be reached" in tried(plain, f"http://127.0.0.1:{free_port()}/v1")[1]
    with Provider(tls=tmp_path) as provider:
        assert "TLS" in tried(plain, provider.url)[1]
        assert tried(plain, provider.url, ca_file=str(provider.ca_file))[0] is Outcome.WELL


def test_doctor_has_a_line_for_each(quiet: LabUnderTest, provider: Provider) -> None:
    for name in ("hello", "helo"):
        quiet.ok("models", "add-upstream", name, "--base-url", provider.url, "--model", name)
    done = quiet.run("doctor", "-o", "json")
    found = {one["name"]: one["verdict"] for one in json.loads(done.stdout)}
    assert (found["models.hello"], found["models.helo"]) == ("ok", "warn")


# --- up -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--key-env", "FAR_KEY"), "needs a key, and the environment variable FAR_KEY is not set"),
        (("--key-env", "PATH"), "every process of a lab inherits PATH"),
        (("--key-file", "groq.key"), "has mode 0644: others can read it"),
    ],
)
def test_without_its_key_nothing_is_started(
    quiet: LabUnderTest, options: tuple[str, ...], said: str
) -> None:
    key_file(quiet)
    quiet.ok("models", "add-upstream", "far", *GROQ, *options)
    key_file(quiet, 0o644)
    done = quiet.run("up", "--model", "textrank", "--model", "far")
    assert done.returncode in (2, 4)
    assert said in done.stderr
    assert not quiet.status()["running"]


# --- containers --------------------------------------------------------------------------


def plan_with(lab: LabUnderTest, **model: str) -> Plan:
    """textrank, and a model elsewhere by the name of far."""
    said = {"base_url": "https://api.example/v1", "model": "m", **model}
    one = Model(runtime="openai", **said)  # type: ignore[arg-type]
    config = load_config(lab.lab.config_file).config
    config = config.model_copy(update={"models": {**config.models, "far": one}})
    return make_plan(config, lab.root, lambda _: None, only=["textrank", "far"], runs_here=False)


def laid_out(lab: LabUnderTest, **model: str) -> tuple[dict[str, Any], Path]:
    """The Compose service of a model elsewhere, and what is mounted into its container alone."""
    plan = plan_with(lab, **model)
    keep_keys(lab.lab, plan, {"FAR_KEY": KEY})
    mounts.lay_out(lab.lab, plan)
    override = json.loads((lab.lab.state / OVERRIDE).read_text())
    assert KEY not in json.dumps(override)
    assert "network_mode" not in override["services"]["llmapi"]
    return override["services"]["llmapi-far"], lab.lab.state / "compose" / "upstreams" / "far"


@pytest.mark.parametrize("where", [{"key_env": "FAR_KEY"}, {"key_file": "groq.key"}])
def test_a_container_has_its_key_as_a_file_and_a_way_out(
    tmp_path_factory: pytest.TempPathFactory, where: dict[str, str]
) -> None:
    lab = lay_out(tmp_path_factory)
    key_file(lab)
    service, mounted = laid_out(lab, **where)
    assert service["network_mode"] == "bridge"
    assert f"{mounted}:/run/upstream:ro" in service["volumes"]
    assert service["environment"].keys() == {"LLMAPI_SOCKET"}
    assert (mounted / "key").read_text() == KEY + "\n"
    assert lab.lab.state.stat().st_mode & 0o077 == 0  # nobody walks in there
    told = json.loads((lab.lab.state / "compose" / "llmapi-far" / "settings.json").read_text())
    assert (told["key"], told["mounted"]) == ("/run/upstream/key", True)
    forget_upstreams(lab.lab, but=["textrank", "far"])
    assert (mounted / "key").exists()
    forget_upstreams(lab.lab, but=["textrank"])
    assert not mounted.exists()


def test_a_container_has_no_way_to_this_machine_s_loopback(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with pytest.raises(UsageError, match="in a container is the container itself"):
        laid_out(lay_out(tmp_path_factory), base_url="http://127.0.0.1:1/v1")


# --- the ledger ------------------------------------------------------------------------------


def test_a_change_of_what_answers_is_one_entry(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(lay_out(tmp_path_factory).lab)
    first = take_note(store, "groq", "llama-3.3-70b", "fp_1")
    assert first
    assert telling.told(first) == "groq is answered by llama-3.3-70b (fp_1)"
    assert take_note(store, "groq", "llama-3.3-70b", "fp_1") is None
    second = take_note(store, "groq", "llama-3.3-70b", "fp_2")
    assert second
    assert telling.told(second) == (
        "groq is answered by llama-3.3-70b (fp_2), before: llama-3.3-70b (fp_1)"
    )
    # A provider that answers by turns from two servers fills no ledger ...
    assert take_note(store, "groq", "llama-3.3-70b", "fp_1") is None
    assert take_note(store, "another", "llama-3.3-70b", "fp_1")
    # ... and one that goes back for good is seen.
    monkeypatch.setattr("llmlab.ledger.upstreams.ONCE_IN", 0.0)
    assert take_note(store, "groq", "llama-3.3-70b", "fp_1")


def test_a_provider_with_a_new_name_for_every_answer_fills_no_ledger(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lay_out(tmp_path_factory)
    lab.lab.make_state()
    Record.of(plan_with(lab, key_env="FAR_KEY"), "compose", "nginx").write(lab.lab)
    said = [("llama", f"fp_{number}") for number in range(100)]
    now = iter(said)
    watch = Watch(lab.lab, lambda _: Told(upstream=next(now)))
    for _ in range(99):
        watch.look()
    told = Store(lab.lab).entries(kind="upstream")
    assert [one.document["fingerprint"] for one in told] == [f"fp_{n}" for n in range(MOST)]
    assert "not told" in telling.told(told[-1])
    assert not [one for one in told[:-1] if "not told" in telling.told(one)]
    # What it is called in the end is told, once there is room again.
    now = iter([said[-1]] * 3)
    watch.look()
    monkeypatch.setattr("llmlab.ledger.upstreams.ONCE_IN", 0.0)
    watch.look()
    watch.look()
    (last,) = Store(lab.lab).entries(kind="upstream")[MOST:]
    assert last.document["fingerprint"] == "fp_99"
