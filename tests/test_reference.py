"""docs/reference/ is what the code says, and the code says all of it."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import llmlab.cli
from llmlab.cli import endings
from llmlab.cli.app import app
from llmlab.config import read_config
from llmlab.config.auth import Issuer
from llmlab.config.load import leaves_of, variable
from llmlab.config.model import ONLY
from llmlab.config.schema import Config
from llmlab.errors import EXIT_CODES
from llmlab.reference import configuration, errors, exit_codes, http_api, metrics, pages, verbs
from llmlab.reference.frequent import FREQUENT
from llmlab.reference.llms import SUMMARY, llms_txt
from llmlab.reference.markdown import text

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
STALE = "{} is not what the code says: make reference"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages.made(DOCS)


@pytest.mark.parametrize("path", [*pages.MADE_BY, pages.LLMS])
def test_a_page_is_what_the_code_says(path: str, made: dict[str, str]) -> None:
    file = DOCS / path
    assert file.is_file() and file.read_text(encoding="utf-8") == made[path], STALE.format(path)


def test_no_page_is_left_of_what_is_no_longer_made() -> None:
    there = {f"reference/{one.name}" for one in (DOCS / "reference").iterdir()}
    assert there == {path for path in pages.MADE_BY if path.startswith("reference/")}


def test_pages_are_written_once(tmp_path: Path) -> None:
    assert pages.write(tmp_path) == [tmp_path / one for one in (*pages.MADE_BY, pages.LLMS)]
    assert pages.write(tmp_path) == []


def test_llms_txt_lists_what_people_write_as_well(tmp_path: Path) -> None:
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "gateway.md").write_text(
        "# The gateway\n\n<!-- walked -->\n\n    llmlab up\n\n"
        "Tokens, [limits](x.md) and logs. More.\n"
    )
    said = llms_txt(tmp_path, {"reference/verbs.md": "# Verbs\n\nEvery verb.\n"})
    assert said.startswith("# llmlab\n\n> A language model behind")
    assert "## Guides\n\n- [The gateway](guide/gateway.md): Tokens, limits and logs.\n" in said
    assert said.endswith("## Reference\n\n- [Verbs](reference/verbs.md): Every verb.\n")


def test_llms_txt_says_what_the_package_says_of_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["description"] == SUMMARY


@pytest.mark.parametrize("path", pages.MADE_BY)
def test_every_column_has_a_heading_and_every_link_a_title(path: str, made: dict[str, str]) -> None:
    heads = re.findall(r"(?m)^\|(.*)\|\n\| ---", made[path])
    assert heads or path == "reference/errors.md"
    assert [head for head in heads if any(not one.strip() for one in head.split("|"))] == []
    assert re.findall(r"\[\S+\.md\]", made[path]) == []


def test_what_would_steer_markdown_is_shown_as_it_is_on_github_and_on_the_site() -> None:
    assert text(r"p95<=800ms, [x] of *.md > `a<b`") == (r"p95&lt;=800ms, \[x\] of \*.md &gt; `a<b`")


# --- verbs ---------------------------------------------------------------------------


def test_every_verb_and_option_has_a_help_text() -> None:
    assert [one.name for one in verbs.verbs() if not one.help] == []
    silent = [
        (verb.name, *one.names)
        for verb in verbs.verbs()
        for one in verb.parameters
        if not one.help.strip()
    ]
    assert silent == []


def test_the_verbs_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")
    narrow = verbs.markdown()
    monkeypatch.setenv("COLUMNS", "300")
    assert verbs.markdown() == narrow


def test_what_one_verb_is_told_is_there_in_full() -> None:
    (canary,) = (one for one in verbs.verbs() if one.name == "rollout start canary")
    assert canary.usage == "llmlab rollout start canary [OPTIONS] MODEL"
    (rate,) = (one for one in canary.parameters if one.names == ("--probe-rate",))
    assert (rate.value, rate.help) == ("N", "So many of them a second. From 0 to 50.")


# --- configuration -------------------------------------------------------------------


def test_lab_toml_is_what_the_schema_says() -> None:
    file = ROOT / "configs" / "lab.toml"
    assert file.read_text(encoding="utf-8") == configuration.lab_toml(), STALE.format(file)


def test_lab_toml_holds_every_key_with_its_default() -> None:
    loaded = read_config(ROOT / "configs" / "lab.toml")
    assert loaded.config == Config()
    defaults = [path for path, _, origin in loaded.leaves() if origin == "default"]
    # A list of tables is told of in comments: a key of that name could not be added to.
    lists = {name for name, _ in configuration.lists_of_tables()}
    assert {path for path in defaults if not path.startswith("models.")} == lists
    # What says nothing to the model's runtime, or is only shown once set.
    for path in set(defaults) - lists:
        _, name, key, *_ = path.split(".")
        runtime = Config().models[name].runtime
        says_nothing = runtime not in ONLY.get(key, (runtime,))
        shown_once_set = key in configuration.FURTHER or key == "decoding"
        assert name == "textrank" or says_nothing or shown_once_set, path


def test_every_key_is_described() -> None:
    known = [*configuration.lab_keys(), *configuration.model_keys()]
    assert [one.path for one in known if not one.description.endswith((".", "..."))] == []
    paths = {path for path, _ in leaves_of(Config()) if not path.startswith("models.")}
    lists = {name for name, _ in configuration.lists_of_tables()}
    # A table of names that people choose has no value of a fixed path.
    free = {one.path for one in configuration.lab_keys() if one.type.startswith("table of")}
    assert {one.path for one in configuration.lab_keys()} - free == paths - lists
    keys = [
        field for _, item in configuration.lists_of_tables() for field in item.model_fields.values()
    ]
    assert all((one.description or "").endswith((".", "...")) for one in keys)
    audience = configuration.Key("auth.issuers.audience", Issuer.model_fields["audience"])
    assert (audience.type, audience.default) == ("string or list of strings", "")
    (port,) = (one for one in known if one.path == "gateway.port")
    assert port.type == "integer, ≥ 1, ≤ 65,535"


def test_which_variable_a_key_has_is_said_once() -> None:
    said = " ".join(configuration.markdown().split())
    assert "`gateway.rate_limit.rate` is `LLMLAB_GATEWAY_RATE_LIMIT_RATE`." in said
    assert "`LLMLAB_PORT` is short for `LLMLAB_GATEWAY_PORT`." in said
    for one in configuration.lab_keys():
        assert variable(one.path) == f"LLMLAB_{one.path}".replace(".", "_").upper()
    assert variable("models.my-own.source") == "LLMLAB_MODELS_MY_OWN_SOURCE"


# --- HTTP, metrics --------------------------------------------------------------------


def test_every_address_and_document_of_the_api_is_there() -> None:
    said = http_api.markdown()
    document = http_api.openapi()
    for path, item in document["paths"].items():
        assert all(f"    {method.upper()} {path}\n" in said for method in item)
    assert all(f"\n### {name}\n" in said for name in document["components"]["schemas"])


def test_every_metric_says_what_it_is() -> None:
    families = [*metrics.of_an_api(), *metrics.of_the_gateway(), *metrics.added()]
    names = [one.name for one in families]
    assert len(set(names)) == len(names)
    assert [one.name for one in families if not one.help.endswith(".")] == []
    assert set(metrics.COUNTED) < set(names)


# --- errors and exit codes -------------------------------------------------------------


def test_every_error_has_an_exit_code_of_the_table() -> None:
    known = list(exit_codes.errors())
    assert {one.exit_code for one in known} | {0, 130} == set(EXIT_CODES)
    assert [one.__name__ for one in known if not one.__doc__] == []


def test_the_verbs_that_answer_by_their_exit_code_are_in_the_table() -> None:
    def module(verb: str) -> str:
        command = get_command(app)
        for name in verb.split():
            command = command.commands[name]  # type: ignore[attr-defined]
        context = command.make_context(verb, [], resilient_parsing=True)
        return str(inspect.unwrap(context.command.callback).__module__)  # type: ignore[arg-type]

    cli = Path(llmlab.cli.__file__).parent
    exiting = {
        "llmlab.cli." + ".".join(file.relative_to(cli).with_suffix("").parts)
        for file in cli.rglob("*.py")
        if "typer.Exit(" in file.read_text()
    }
    compare = module("compare")  # ends as the first text that failed
    assert {module(verb) for verb in endings.OF_VERBS} == exiting - {compare}
    assert {code for codes in endings.OF_VERBS.values() for code in codes} <= set(EXIT_CODES)


def _said_in(folder: Path) -> str:
    """All that the strings of the code and the gateway's configuration say."""
    texts = [file.read_text() for file in (*folder.rglob("*.js"), ROOT / "nginx.conf")]
    for file in folder.rglob("*.py"):
        if file.parent.name != "reference":
            tree = ast.walk(ast.parse(file.read_text()))
            texts += [one.value for one in tree if isinstance(one, ast.Constant)
                      and isinstance(one.value, str)]  # fmt: skip
    return " ".join("\n".join(texts).split())


def test_what_people_run_into_most_is_really_said() -> None:
    said = _said_in(ROOT / "llmlab")
    quoted = [one for says, _ in FREQUENT for one in re.findall(r"`([^`]+)`", says)]
    for quote in quoted:
        parts = re.split(r"\.\.\.|\b[A-Z]{3,}\b|^[0-9]{3}: ", quote)
        assert [one for one in parts if len(one.strip()) > 3 and one.strip() not in said] == []


def test_errors_are_told_with_their_fix() -> None:
    fixes = {one.message: one.fix for one in errors.told()}
    assert fixes["NGINX Plus in a container needs its licence"].startswith("set gateway.license")
    assert fixes["port PORT is taken by ..."].startswith("stop it, or llmlab VERB --port")
    assert len(fixes) > 200
    assert not any("{" in one.message.replace('{"', "") for one in errors.told())
