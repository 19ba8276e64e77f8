"""The configuration: layers, origins, and errors that name the path of what is wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config, Loaded, load_config
from llmlab.config.auth import Issuer
from llmlab.config.model import ONLY, Decoding, Model
from llmlab.errors import ConfigError
from llmlab.network import port_is_free
from llmlab.processes import lab_processes
from llmlab.reference.configuration import lists_of_tables
from tests.conftest import LabUnderTest

SHIPPED = Path(__file__).parents[1] / "configs" / "lab.toml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = "sha256:" + "7" * 64


def load(
    folder: Path,
    text: str = "",
    *,
    flags: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
) -> Loaded:
    file = folder / "lab.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, flags=flags, environ=environ)


def told(loaded: Loaded, path: str) -> tuple[Any, str]:
    """(value, origin) of a leaf."""
    return {leaf: (value, origin) for leaf, value, origin in loaded.leaves()}[path]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return leaves


def applies(path: str) -> bool:
    """Whether a key of a model says something to its runtime."""
    _, name, key, *_ = path.split(".")
    runtime = Config().models[name].runtime
    return runtime in ONLY.get(key, (runtime,))


def value_for(path: str) -> str:
    """A variable's text that is no default, of the type that its key wants."""
    *_, section, key = path.split(".")
    words = {"compute_type": "float32", "base_url": "https://example.com/v1"}
    fields = (Decoding if section == "decoding" else Model).model_fields
    return words.get(key) or ("x" if "str" in str(fields[key].annotation) else "1")


# --- layers ------------------------------------------------------------------

FILE = "[gateway]\nport = 8001\n"
VARIABLE = {"LLMLAB_GATEWAY_PORT": "8002"}
FLAG = {"gateway.port": 8003}


@pytest.mark.parametrize(
    ("text", "environ", "flags", "expected"),
    [
        ("", {}, {}, (8000, "default")),
        (FILE, {}, {}, (8001, "configs/lab.toml")),
        ("", VARIABLE, {}, (8002, "environment LLMLAB_GATEWAY_PORT")),
        (FILE, VARIABLE, {}, (8002, "environment LLMLAB_GATEWAY_PORT")),
        (FILE, {}, FLAG, (8003, "flag")),
        (FILE, VARIABLE, FLAG, (8003, "flag")),
        (FILE, VARIABLE, {"gateway.port": None}, (8002, "environment LLMLAB_GATEWAY_PORT")),
        (FILE, {"LLMLAB_GATEWAY_PORT": ""}, {}, (8001, "configs/lab.toml")),
        (FILE, {"LLMLAB_PORT": "8004"}, {}, (8004, "environment LLMLAB_PORT")),
    ],
)
def test_a_flag_beats_the_environment_which_beats_lab_toml_which_beats_the_default(
    tmp_path: Path, text: str, environ: dict[str, str], flags: dict[str, Any], expected: object
) -> None:
    assert told(load(tmp_path, text, environ=environ, flags=flags), "gateway.port") == expected


VARIABLES = {
    "engine": ("local", "local"),
    "fallback": ("falconsai", "falconsai"),
    "deploy": ("textrank, falconsai", ["textrank", "falconsai"]),
    "routes.summarize": ("textrank", "textrank"),
    "routes.chat": ("textrank", "textrank"),
    "gateway.host": ("0.0.0.0", "0.0.0.0"),
    "gateway.port": ("9001", 9001),
    "gateway.insecure": ("true", True),
    "gateway.tls.enabled": ("true", True),
    "gateway.tls.certificate": ("own.pem", "own.pem"),
    "gateway.tls.key": ("own.key", "own.key"),
    "gateway.tls.ca_file": ("ca.pem", "ca.pem"),
    "gateway.tls.names": ("llm.example.org, 192.0.2.7", ["llm.example.org", "192.0.2.7"]),
    "gateway.tls.client_ca": ("clients.pem", "clients.pem"),
    "gateway.tls.client": ("optional", "optional"),
    "gateway.tls.hsts": ("86400", 86400),
    "gateway.tls.redirect_port": ("8080", 8080),
    "gateway.waf.enabled": ("true", True),
    "gateway.waf.mode": ("block", "block"),
    "gateway.waf.paranoia": ("2", 2),
    "gateway.waf.threshold": ("10", 10),
    "gateway.token_leeway": ("0", 0.0),
    "gateway.max_body": ("64k", "64k"),
    "gateway.connections": ("0", 0),
    "gateway.nginx": ("/opt/nginx", "/opt/nginx"),
    "gateway.edition": ("plus", "plus"),
    "gateway.license": ("license.jwt", "license.jwt"),
    "gateway.image": ("registry.example.com/nginx-plus:r36", "registry.example.com/nginx-plus:r36"),
    "auth.default_scopes": ("summarize, chat", ["summarize", "chat"]),
    "auth.refresh": ("600", 600),
    "auth.max_stale": ("7200", 7200),
    "gateway.cors_origins": (
        "https://a.example, http://localhost:3000",
        ["https://a.example", "http://localhost:3000"],
    ),
    "gateway.rate_limit.enabled": ("false", False),
    "gateway.rate_limit.rate": ("30r/m", "30r/m"),
    "gateway.rate_limit.burst": ("0", 0),
    "service.max_text_chars": ("5000", 5000),
    "service.timeout": ("2.5", 2.5),
    "service.stream_timeout": ("90", 90.0),
    "service.queue": ("4", 4),
    "service.spare": ("false", False),
    "service.batch_tokens": ("512", 512),
    "service.batch_texts": ("4", 4),
    "service.cache": ("0", 0),
    "service.memory": ("512m", "512m"),
    "service.replicas": ("3", 3),
    "service.threads": ("2", 2),
    "service.llama_server": ("/opt/llama-server", "/opt/llama-server"),
    "jupyter.port": ("8899", 8899),
    "jupyter.image": ("quay.io/jupyter/pytorch-notebook", "quay.io/jupyter/pytorch-notebook"),
    "ray.address": ("10.0.0.2:6379", "10.0.0.2:6379"),
    "ray.token_file": ("token", "token"),
    "ray.host": ("10.0.0.1", "10.0.0.1"),
    "ray.port": ("6480", 6480),
    "ray.link_port": ("6481", 6481),
    "ray.replica_ports": ("21000-21099", "21000-21099"),
    "ray.cores": ("4", 4),
    "rollout.steps": ("10, 50,100", [10.0, 50.0, 100.0]),
    "rollout.interval": ("5", 5.0),
    "rollout.progress_deadline": ("90.5", 90.5),
    "rollout.on_deadline": ("abort", "abort"),
    "rollout.on_inconclusive": ("pause", "pause"),
    "rollout.alpha": ("0.01", 0.01),
    "rollout.min_samples": ("50", 50),
    "rollout.error_margin": ("0.02", 0.02),
    "rollout.latency_gate": ("p99<=2x", "p99<=2x"),
    "rollout.holdback": ("10", 10.0),
    "rollout.bake": ("0", 0.0),
    "rollout.text_gate": ("coverage>=-0.01", "coverage>=-0.01"),
    "rollout.probe_suite": ("founding", "founding"),
    "rollout.chat_gate": ("checks>=-0.2", "checks>=-0.2"),
    "rollout.chat_suite": ("mine", "mine"),
    "rollout.answer_gate": ("gap:p95<=2x", "gap:p95<=2x"),
    "rollout.probe_rate": ("1.5", 1.5),
    "rollout.pairs": ("0.1", 0.1),
    "rollout.pairs_gate": ("empty<=+0.02", "empty<=+0.02"),
    "rollout.pairs_required": ("true", True),
    "rollout.chat_pairs_gate": ("refusals<=+0.05", "refusals<=+0.05"),
    "rollout.pairs_never": ("chat", ["chat"]),
    "rollout.judge_rate": ("5", 5.0),
    "judge.model": ("referee", "referee"),
    "judge.rubric": ("mine.md", "mine.md"),
    "judge.suite": ("mine", "mine"),
    "judge.pairs": ("36", 36),
    "judge.max_tokens": ("4096", 4096),
    "judge.min_agreement": ("0.9", 0.9),
    "judge.max_position_bias": ("0.1", 0.1),
    "judge.max_noise": ("0.1", 0.1),
    "console.enabled": ("on", "on"),
    "console.session": ("600", 600),
    "recording.max_bytes": ("20000", 20_000),
    "recording.max_seconds": ("60", 60.0),
    "recording.max_age": ("3600", 3600.0),
    "recording.never": ("chat", ["chat"]),
    "observability.enabled": ("true", True),
    "observability.prometheus_port": ("9191", 9191),
    "observability.grafana_port": ("3030", 3030),
    "models.falconsai.runtime": ("transformers", "transformers"),
    "models.falconsai.source": ("path:my-model", "path:my-model"),
    "models.falconsai.revision": (COMMIT, COMMIT),
    "models.falconsai.content_id": (CONTENT, CONTENT),
    "models.falconsai.license": ("mit", "mit"),
    "models.falconsai.compute_type": ("float32", "float32"),
    "models.falconsai.cores": ("0.5", 0.5),
    "models.falconsai.gpus": ("1", 1.0),
    "models.falconsai.memory": ("4g", "4g"),
    "models.falconsai.max_length": ("60", 60),
    "models.falconsai.min_length": ("7", 7),
    "models.textrank.runtime": ("extractive", "extractive"),
    "models.textrank.source": ("embedded:textrank", "embedded:textrank"),
    "models.textrank.content_id": (CONTENT, CONTENT),
    "models.textrank.license": ("mit", "mit"),
    "models.textrank.cores": ("0.5", 0.5),
    "models.textrank.gpus": ("1", 1.0),
    "models.textrank.memory": ("200m", "200m"),
    "models.textrank.max_length": ("33", 33),
    "models.textrank.min_length": ("3", 3),
    "models.smollm2.runtime": ("llamacpp", "llamacpp"),
    "models.smollm2.source": ("path:my.gguf", "path:my.gguf"),
    "models.smollm2.revision": (COMMIT, COMMIT),
    "models.smollm2.file": ("*Q4_K_M.gguf", "*Q4_K_M.gguf"),
    "models.smollm2.content_id": (CONTENT, CONTENT),
    "models.smollm2.license": ("mit", "mit"),
    "models.smollm2.cores": ("0.5", 0.5),
    "models.smollm2.gpus": ("1", 1.0),
    "models.smollm2.memory": ("8g", "8g"),
    "models.smollm2.max_length": ("60", 60),
    "models.smollm2.min_length": ("7", 7),
    "models.smollm2.prompt": ("configs/prompts/mine.md", "configs/prompts/mine.md"),
    "models.smollm2.decoding.temperature": ("0.7", 0.7),
    "models.smollm2.decoding.top_p": ("0.9", 0.9),
    "models.smollm2.decoding.max_tokens": ("80", 80),
    "models.smollm2.decoding.seed": ("7", 7),
    "models.smollm2.decoding.stop": ("END, ###", ["END", "###"]),
    "models.smollm2.decoding.frequency_penalty": ("-0.5", -0.5),
    "models.smollm2.decoding.presence_penalty": ("1", 1.0),
    "models.smollm2.context": ("4096", 4096),
    "models.smollm2.slots": ("2", 2),
    "models.smollm2.stream_timeout": ("45", 45.0),
    "models.falconsai.price.input": ("0.5", 0.5),
    "models.falconsai.price.output": ("2", 2.0),
    "models.textrank.price.input": ("0.5", 0.5),
    "models.textrank.price.output": ("2", 2.0),
    "models.smollm2.price.input": ("0.5", 0.5),
    "models.smollm2.price.output": ("2", 2.0),
    **{
        f"models.{name}.scale.{key}": value
        for name in Config().models
        for key, value in {
            "min": ("0", 0), "max": ("3", 3), "requests": ("2.5", 2.5), "up_after": ("5", 5.0),
            "down_after": ("60", 60.0), "rest_after": ("90", 90.0),
        }.items()
    },
}  # fmt: skip
# What says nothing to the runtime of the model that it is said of.
WITHOUT_EFFECT = [
    path for path in flat(Config().model_dump()) if path.startswith("models.") and not applies(path)
]


def variable(path: str) -> str:
    return "LLMLAB_" + path.upper().replace(".", "_")


# What makes no sense alone -> what it goes with.
WITH = {
    "gateway.tls.certificate": ("gateway.tls.key",),
    "gateway.tls.key": ("gateway.tls.certificate",),
    "gateway.tls.ca_file": ("gateway.tls.key", "gateway.tls.certificate"),
    "gateway.tls.client": ("gateway.tls.client_ca",),
    "ray.address": ("ray.token_file",),
}


@pytest.mark.parametrize("path", VARIABLES)
def test_every_value_has_a_variable_named_after_its_path(tmp_path: Path, path: str) -> None:
    text, value = VARIABLES[path]
    whole, _, key = path.rpartition(".")
    goes_with = WITH.get(path, ())
    if whole.endswith(".scale") and key != "max":
        goes_with = (f"{whole}.max",)
    others = {variable(other): VARIABLES[other][0] for other in goes_with}
    loaded = load(tmp_path, SHIPPED.read_text(), environ={variable(path): text} | others)
    assert told(loaded, path) == (value, f"environment {variable(path)}")


def test_the_table_of_variables_above_leaves_out_no_value() -> None:
    lists = {name for name, _ in lists_of_tables()}
    assert {*VARIABLES, *WITHOUT_EFFECT, *lists} == set(flat(Config().model_dump()))
    assert set(VARIABLES).isdisjoint(WITHOUT_EFFECT)


@pytest.mark.parametrize("path", WITHOUT_EFFECT)
def test_a_variable_that_would_have_no_effect_is_an_error_that_says_whose_it_is(
    tmp_path: Path, path: str
) -> None:
    _, name, key, *_ = path.split(".")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, SHIPPED.read_text(), environ={variable(path): value_for(path)})
    runtime = Config().models[name].runtime
    assert f"models.{name}: {key} is for " in refused.value.message
    assert refused.value.message.endswith(f", not for {runtime}")


def test_a_hyphen_in_a_models_name_is_an_underscore_in_the_variable(tmp_path: Path) -> None:
    text = '[models.my-t5]\nruntime = "transformers"\nsource = "path:t5"\n'
    loaded = load(
        tmp_path, SHIPPED.read_text() + text, environ={"LLMLAB_MODELS_MY_T5_MAX_LENGTH": "9"}
    )
    assert loaded.config.models["my-t5"].max_length == 9


def test_a_variable_changes_one_value_of_a_default_model_and_keeps_the_rest(tmp_path: Path) -> None:
    loaded = load(tmp_path, environ={"LLMLAB_MODELS_TEXTRANK_MAX_LENGTH": "40"})
    assert told(loaded, "models.textrank.max_length")[0] == 40
    assert told(loaded, "models.textrank.source") == ("embedded:textrank", "default")
    assert "falconsai" in loaded.config.models


def test_two_variables_for_the_port_mean_the_same_in_any_order(tmp_path: Path) -> None:
    both = {"LLMLAB_PORT": "8005", "LLMLAB_GATEWAY_PORT": "8006"}
    one = load(tmp_path, environ=both)
    other = load(tmp_path, environ=dict(reversed(both.items())))
    assert told(one, "gateway.port") == told(other, "gateway.port")


# --- routes ------------------------------------------------------------------


def test_stable_is_an_old_spelling_of_the_model_behind_summarize(tmp_path: Path) -> None:
    loaded = load(tmp_path, 'stable = "textrank"\n')
    assert told(loaded, "routes.summarize") == ("textrank", "configs/lab.toml")
    assert loaded.config == load(tmp_path, '[routes]\nsummarize = "textrank"\n').config
    by_variable = load(tmp_path, environ={"LLMLAB_STABLE": "textrank"})
    assert told(by_variable, "routes.summarize") == ("textrank", "environment LLMLAB_STABLE")


def test_both_spellings_are_one_where_they_say_the_same(tmp_path: Path) -> None:
    both = 'stable = "textrank"\n[routes]\nsummarize = "textrank"\n'
    assert load(tmp_path, both).config.stable == "textrank"
    asked = load(tmp_path, both, environ={"LLMLAB_STABLE": "falconsai"})
    assert told(asked, "routes.summarize") == ("falconsai", "environment LLMLAB_STABLE")


@pytest.mark.parametrize("old", ['stable = "falconsai"\n', '[routes]\nsummarize = "falconsai"\n'])
@pytest.mark.parametrize("name", ["LLMLAB_STABLE", "LLMLAB_ROUTES_SUMMARIZE"])
def test_a_variable_beats_lab_toml_however_each_spells_it(
    tmp_path: Path, old: str, name: str
) -> None:
    loaded = load(tmp_path, old, environ={name: "textrank"})
    assert told(loaded, "routes.summarize") == ("textrank", f"environment {name}")


def test_a_lab_has_further_routes_by_the_names_that_it_chooses(tmp_path: Path) -> None:
    text = SHIPPED.read_text().replace('chat = "smollm2"', 'chat = ""\nsupport = "textrank"')
    loaded = load(tmp_path, text)
    assert loaded.config.served == {"summarize": "falconsai", "support": "textrank"}
    assert told(loaded, "routes.support") == ("textrank", "configs/lab.toml")


def test_chat_is_switched_off_by_an_empty_name(tmp_path: Path) -> None:
    assert "chat" in load(tmp_path).config.served
    assert "chat" not in load(tmp_path, '[routes]\nchat = ""\n').config.served


OWN_MODELS = '[models.mine]\nruntime = "extractive"\nsource = "embedded:textrank"\n'


def test_a_lab_toml_with_models_of_its_own_has_a_chat_only_if_it_says_so(tmp_path: Path) -> None:
    text = 'fallback = ""\n[routes]\nsummarize = "mine"\n'
    assert load(tmp_path, text + OWN_MODELS).config.served == {"summarize": "mine"}
    asked = load(tmp_path, text + 'chat = "mine"\n' + OWN_MODELS)
    assert asked.config.served == {"summarize": "mine", "chat": "mine"}
    with pytest.raises(ConfigError, match=r"routes\.chat: no model 'smollm2' is defined"):
        load(tmp_path, text + 'chat = "smollm2"\n' + OWN_MODELS)


def test_a_whole_number_is_good_enough_for_seconds(tmp_path: Path) -> None:
    assert load(tmp_path, "[service]\ntimeout = 30\n").config.service.timeout == 30.0


def test_no_fallback_is_an_empty_string(tmp_path: Path) -> None:
    assert load(tmp_path, 'fallback = ""\n').config.fallback == ""


# --- what is wrong, and where ------------------------------------------------

TINY = '[models.tiny]\nruntime = "transformers"\n'
CHAT = '[models.smol]\nruntime = "llamacpp"\n'

BAD = [
    # what lab.toml says, the path that the error names, what it says of it
    ("burst = 5\n", "burst", "unknown key"),
    ('falback = "textrank"\n', "falback", "did you mean 'fallback'?"),
    ('[routs]\nchat = ""\n', "routs", "did you mean 'routes'?"),
    ("[gatway]\nport = 1\n", "gatway", "did you mean 'gateway'?"),
    ("[gateway]\nprot = 1\n", "gateway.prot", "did you mean 'port'?"),
    ("[gateway.rate_limit]\nratee = 1\n", "gateway.rate_limit.ratee", "did you mean 'rate'?"),
    ("[gateway.rate_limt]\nrate = 1\n", "gateway.rate_limt", "did you mean 'rate_limit'?"),
    ("[models.textrank]\nsorce = 1\n", "models.textrank.sorce", "did you mean 'source'?"),
    ('[gateway]\nport = "8000"\n', "gateway.port", "not '8000'"),
    ("[gateway]\nport = true\n", "gateway.port", "not True"),
    ("[gateway]\nport = 8000.5\n", "gateway.port", "not 8000.5"),
    ("[gateway]\nport = 0\n", "gateway.port", "not 0"),
    ("[gateway]\nport = 65536\n", "gateway.port", "not 65536"),
    ('[gateway]\nhost = "localhost:80"\n', "gateway.host", "IP address"),
    ('[gateway]\nmax_body = "1 MB"\n', "gateway.max_body", "not '1 MB'"),
    ('[gateway.rate_limit]\nrate = "2/s"\n', "gateway.rate_limit.rate", "not '2/s'"),
    ('[gateway.rate_limit]\nrate = "0r/s"\n', "gateway.rate_limit.rate", "not '0r/s'"),
    ("[gateway.rate_limit]\nburst = -1\n", "gateway.rate_limit.burst", "not -1"),
    ('[gateway.rate_limit]\nenabled = "yes"\n', "gateway.rate_limit.enabled", "not 'yes'"),
    ("[gateway]\nrate_limit = 2\n", "gateway.rate_limit", "not 2"),
    ("[service]\ntimeout = 0\n", "service.timeout", "not 0"),
    ("[service]\ntimeout = inf\n", "service.timeout", "not inf"),
    ("[service]\ntimeout = nan\n", "service.timeout", "not nan"),
    ("[service]\nqueue = 0\n", "service.queue", "not 0"),
    ('engine = "docker"\n', "engine", "'compose'"),
    ("deploy = [1]\n", "deploy.0", "not 1"),
    ('deploy = "textrank"\n', "deploy", "not 'textrank'"),
    ("models = 3\n", "models", "not 3"),
    (
        '[routes]\nsummarize = "nope"\n',
        "routes.summarize",
        "no model 'nope' is defined (from configs/lab.toml)",
    ),
    (
        '[routes]\nsupport = "nope"\n',
        "routes.support",
        "no model 'nope' is defined (from configs/lab.toml)",
    ),
    ('[routes]\nchat = "nope"\n', "routes.chat", "no model 'nope' is defined"),
    ('[routes]\nsummarize = ""\n', "routes.summarize", "at least 1 character"),
    ('[routes]\nSupport = "textrank"\n', "routes", "'Support' cannot be a route's name"),
    ("[routes]\nsupport = 3\n", "routes.support", "not 3"),
    ("routes = 3\n", "routes", "not 3"),
    ('stable = "nope"\n', "routes.summarize", "no model 'nope' is defined (from configs/lab.toml)"),
    ('stable = "textrank"\n[routes]\nsummarize = "falconsai"\n', "stable", "say one of them"),
    ('stable = "textrank"\nroutes = 3\n', "routes", "not 3"),
    ("stable = 3\n", "routes.summarize", "not 3"),
    ('[gateway]\ncors_origins = ["https://a.example/"]\n', "gateway.cors_origins", "https://HOST"),
    ('[gateway]\ncors_origins = ["*"]\n', "gateway.cors_origins", "https://HOST"),
    ('[auth]\ndefault_scopes = ["Chat"]\n', "auth.default_scopes", "'Chat' is no scope"),
    ('[auth]\ndefault_scopes = ["operator"]\n', "auth.default_scopes", "nobody is an operator"),
    ('[auth]\ndefault_scopes = ["viewer"]\n', "auth.default_scopes", "nobody is a viewer"),
    ('[console]\nenabled = "yes"\n', "console.enabled", "'auto', 'on' or 'off'"),
    ("[console]\nsession = 100_000\n", "console.session", "86400"),
    ('fallback = "nope"\n', "fallback", "no model 'nope' is defined (from configs/lab.toml)"),
    (
        'deploy = ["textrank", "nope"]\n',
        "deploy.1",
        "no model 'nope' is defined (from configs/lab.toml)",
    ),
    ('[models.Tiny]\nruntime = "transformers"\nsource = "path:t"\n', "models", "'Tiny'"),
    ('[models."a/b"]\nruntime = "transformers"\nsource = "path:t"\n', "models", "'a/b'"),
    ('[models.default]\nruntime = "transformers"\nsource = "path:t"\n', "models", "'default'"),
    (TINY, "models.tiny", "the runtime transformers cannot load a model without a source"),
    (TINY + 'source = "wheel:a==1"\n', "models.tiny", "cannot load 'wheel:a==1'"),
    (CHAT + 'source = "wheel:a"\n', "models.smol", "wheel:NAME==VERSION"),
    (CHAT + 'source = "wheel:a==1"\ncompute_type = "float32"\n', "models.smol", "compute_type"),
    (CHAT + 'source = "wheel:a==1"\nbase_url = "http://x/v1"\n', "models.smol", "is for openai"),
    (
        CHAT + 'source = "wheel:a==1"\ndecoding = { temprature = 1 }\n',
        "models.smol.decoding.temprature",
        "unknown key",
    ),
    (
        CHAT + 'source = "wheel:a==1"\ndecoding = { stop = "END" }\n',
        "models.smol.decoding.stop",
        "valid list",
    ),
    (TINY + 'source = "path:t"\nprompt = "p.md"\n', "models.tiny", "prompt is for llamacpp"),
    (TINY + 'source = "hub:tiny"\n', "models.tiny", "hub:OWNER/NAME"),
    (TINY + 'source = "/srv/model"\n', "models.tiny", "path:FOLDER"),
    (TINY + 'source = "embedded:textrank"\n', "models.tiny", "cannot load"),
    (TINY + 'source = "hub:tiny/t5"\n', "models.tiny", "revision"),
    (TINY + 'source = "hub:tiny/t5"\nrevision = "main"\n', "models.tiny", "40 hex digits"),
    (
        TINY + 'source = "path:t"\nmin_length = 50\nmax_length = 20\n',
        "models.tiny",
        "min_length 50 is above max_length 20",
    ),
    (TINY + 'source = "path:t"\nmax_length = 0\n', "models.tiny.max_length", "not 0"),
    (TINY + 'source = "path:t"\ncores = 0\n', "models.tiny.cores", "not 0"),
    (TINY + 'source = "path:t"\nmemory = "2 GB"\n', "models.tiny.memory", 'like "512m" or "2g"'),
    (TINY + 'source = "path:t"\ngpus = 1.5\n', "models.tiny", "a part of one, or a whole number"),
    (TINY + 'source = "path:t"\ngpus = 0.00001\n', "models.tiny", "not 1e-05"),
    ('[rollout]\npairs_never = ["sumarize"]\n', "rollout.pairs_never", "no route 'sumarize'"),
    ('[recording]\nnever = ["chat", "chta"]\n', "recording.never", "did you mean 'chat'"),
]


@pytest.mark.parametrize(("text", "path", "says"), BAD, ids=[f"{b[1]}: {b[2]}" for b in BAD])
def test_a_bad_value_is_refused_with_its_path(
    tmp_path: Path, text: str, path: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    lines = caught.value.message.splitlines()
    assert any(line.startswith(f"{path}: ") and says in line for line in lines), lines
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, 'engine = "docker"\n[gateway]\nport = 0\n[service]\nqueue = 0\n')
    named = [line.partition(":")[0] for line in caught.value.message.splitlines()]
    assert named == ["engine", "gateway.port", "service.queue"]


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("LLMLAB_PORT", "http", "gateway.port"),
        ("LLMLAB_PORT", "99999", "gateway.port"),
        ("LLMLAB_GATEWAY_RATE_LIMIT_ENABLED", "maybe", "gateway.rate_limit.enabled"),
        ("LLMLAB_GATEWAY_RATE_LIMIT_RATE", "fast", "gateway.rate_limit.rate"),
        ("LLMLAB_SERVICE_TIMEOUT", "soon", "service.timeout"),
        ("LLMLAB_ENGINE", "docker", "engine"),
        ("LLMLAB_STABLE", "nope", "routes.summarize"),
        ("LLMLAB_ROUTES_SUMMARIZE", "nope", "routes.summarize"),
        ("LLMLAB_ROUTES_CHAT", "nope", "routes.chat"),
        ("LLMLAB_DEPLOY", "textrank,nope", "deploy.1"),
        ("LLMLAB_MODELS_TEXTRANK_MAX_LENGTH", "many", "models.textrank.max_length"),
    ],
)
def test_a_bad_variable_is_named_with_its_path_and_lab_toml_is_not_blamed(
    tmp_path: Path, name: str, value: str, path: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SHIPPED.read_text(), environ={name: value})
    assert caught.value.message.startswith(f"{path}: ")
    assert f"environment {name}" in caught.value.message
    assert caught.value.fix
    assert not caught.value.fix.startswith(f"correct {tmp_path}"), "that file is as it should be"


def test_a_syntax_error_is_located_in_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lab\.toml is not valid TOML: .*line 2") as caught:
        load(tmp_path, 'engine = "local"\nstable = \n')
    assert "lab.toml" in (caught.value.fix or "")


def test_a_file_that_is_not_utf_8_says_so(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_bytes('stable = "caf\xe9"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"lab\.toml .*byte 13 is not UTF-8"):
        load_config(file)


def test_the_byte_order_mark_of_some_editors_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_bytes(b'\xef\xbb\xbfstable = "textrank"\n')
    assert load_config(file).config.stable == "textrank"


# --- through the command -----------------------------------------------------


@pytest.mark.parametrize(
    ("change", "arguments", "env", "says"),
    [
        ("[gateway]\nprot = 1\n", (), {}, r"gateway\.prot: unknown key"),
        ('[gateway]\nport = "8000"\n', (), {}, r"gateway\.port: .*valid integer"),
        ('[gateway.rate_limit]\nrate = "2/s"\n', (), {}, r"gateway\.rate_limit\.rate: "),
        ('[routes]\nsummarize = "nope"\n', (), {}, r"routes\.summarize: no model 'nope'"),
        ("stable = \n", (), {}, r"not valid TOML"),
        ("", (), {"LLMLAB_PORT": "http"}, r"gateway\.port: .*LLMLAB_PORT"),
        ("", ("--port", "99999"), {}, r"gateway\.port: .*from flag"),
        ("", ("--model", "nope"), {}, r"no model 'nope' is defined"),
    ],
)
def test_up_with_a_bad_configuration_exits_with_2_and_starts_nothing(
    unborn: LabUnderTest,
    change: str,
    arguments: tuple[str, ...],
    env: dict[str, str],
    says: str,
) -> None:
    unborn.lab.config_file.write_text(change or f"[gateway]\nport = {unborn.port}\n")
    done = unborn.run("up", *arguments, env=env)
    assert done.returncode == 2
    assert re.search(says, done.stderr)
    assert "Fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert lab_processes(unborn.lab.state) == []
    assert port_is_free("127.0.0.1", unborn.port)
    assert not (unborn.lab.state / "running.json").exists()


@pytest.fixture(scope="module")
def unborn(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that was never up."""
    return make_lab()


def test_a_running_lab_goes_on_while_its_new_configuration_is_refused(lab: LabUnderTest) -> None:
    good = lab.lab.config_file.read_text()
    lab.lab.config_file.write_text(good.replace("queue = 32", "queue = 0"))
    try:
        done = lab.run("up")
        assert done.returncode == 2
        assert "service.queue" in done.stderr
        with lab.client() as client:
            assert client.get("/").status_code == 200
    finally:
        lab.lab.config_file.write_text(good)
    assert lab.json("status")["healthy"]


# --- the file that init lays out ---------------------------------------------


def test_the_shipped_lab_toml_says_what_is_the_default_anyway(tmp_path: Path) -> None:
    assert load(tmp_path, SHIPPED.read_text()).config == Config() == load(tmp_path).config


def test_the_shipped_lab_toml_holds_every_key() -> None:
    written = flat(tomllib.loads(SHIPPED.read_text()))
    defaults = flat(Config().model_dump())
    lists = {name for name, _ in lists_of_tables()}  # none, as the file comes
    outside = {path for path in defaults if not path.startswith("models.")} - lists
    assert outside <= set(written)
    for key in Issuer.model_fields:
        assert re.search(rf"(?m)^# {key} ", SHIPPED.read_text())
    keys_of_models = {path.split(".")[2] for path in written if path.startswith("models.")}
    described = {
        key for key in Model.model_fields if re.search(rf"(?m)^# {key} ", SHIPPED.read_text())
    }
    assert described == set(Model.model_fields)
    # Each of those that say something to the runtime of one of its models; but what is for a model
    # elsewhere, or for one of several files, would only be "".
    some = {
        key for key in Model.model_fields
        if any(one.runtime in ONLY.get(key, (one.runtime,)) for one in Config().models.values())
    }  # fmt: skip
    assert keys_of_models == some - {"file", "price", "scale", "cores", "gpus", "memory"}


def test_what_a_chat_model_decodes_by_is_a_table(tmp_path: Path) -> None:
    text = SHIPPED.read_text() + CHAT
    text += 'source = "wheel:a==1"\ndecoding = { temperature = 0, stop = ["END"] }\n'
    found = load(tmp_path, text).config.models["smol"].decoding
    assert found.as_body() == {"temperature": 0.0, "stop": ["END"]}


def test_a_configuration_is_read_again_from_its_own_json() -> None:
    """As the record of a running lab holds it."""
    for said in ({}, {"guards": [{"kind": "secrets"}, {"kind": "deny", "words": ["a"]}]}):
        one = Config.model_validate(said)
        assert Config.model_validate(one.model_dump(mode="json")) == one


BUDGET = "[[budgets]]\ntokens_per_day = 5\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[budgets]]\n", "budgets.0: a budget needs one at least of requests_per_minute"),
        (BUDGET + BUDGET, "budgets: two budgets are called subject: give one of them a name"),
        (BUDGET + 'by = "team"\n', 'budgets.0.by: should be "subject" or "claim:NAME"'),
        (BUDGET + 'name = "A b"\n', "'A b' cannot be a budget's name"),
        (BUDGET + "tokens_per_hour = 5\n", "budgets.0.tokens_per_hour: unknown key"),
        ("[[budgets]]\ntokens_per_day = -5\n", "budgets.0.tokens_per_day: Input should be"),
        (BUDGET + 'currency = "euro"\n', "budgets.0.currency: "),
        (BUDGET + 'currency = "EUR"\n', "budgets.0: currency is of money: say money_per_month"),
    ],
)
def test_a_budget_that_is_none_is_refused_by_its_path(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert said in refused.value.message


def test_money_is_counted_in_millionths(tmp_path: Path) -> None:
    (one,) = load(tmp_path, BUDGET + "money_per_month = 12.345678\n").config.budgets
    assert one.limits == {"tokens_per_day": 5, "money_per_month": 12_345_678}
