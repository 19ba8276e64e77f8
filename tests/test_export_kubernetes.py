"""A lab as Kubernetes manifests. There is no cluster here: schemas are held against them, and the
gateway that comes out of them runs, with names that lead to real APIs."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import kubernetes_validate
import pytest
import yaml

from llmlab.auth import KeySet, demo
from llmlab.auth.keys import Key
from llmlab.auth.tokens import Claims, mint
from llmlab.config import Config, Model
from llmlab.engines.base import Plan
from llmlab.errors import AuthError, ConfigError, LlmlabError, ModelUnavailable, UsageError
from llmlab.export import apis, gateway, writing
from llmlab.export.kubernetes import export
from llmlab.export.wishes import Wishes
from llmlab.export.writing import MARK, write
from llmlab.files import write_atomically
from llmlab.gateway import find_nginx, metrics
from llmlab.lab import Lab, init_lab
from llmlab.models.identity import content_id
from llmlab.models.loading import language_model
from llmlab.service.settings import Settings
from llmlab.tls.store import Certificates
from llmlab.traffic import Deployed, Flag, Share, Split, Traffic
from tests.certificates import Root
from tests.conftest import LabUnderTest, clean_env, free_port, wait_until
from tests.gateways import new_keys, started
from tests.kustomized import BUILDERS, Built, Manifest, as_mounted, built
from tests.name_server import name_server
from tests.summarizing import summarizing

VERSIONS = ("1.27", "1.32", "1.37")  # the first that it is said to fit, and the last
HTTP_ROUTE = Path(__file__).parent / "kubernetes" / "httproute.json"
KEYS = new_keys()
TEXTRANK = Settings(
    deployment="textrank", name="textrank",
    model=Model(runtime="extractive", source="embedded:textrank"),
)  # fmt: skip
SECRET_KEY = "sk-of-a-provider"
EVERY_WISH = Wishes(
    namespace="summaries", registry="registry.example.com:5000/team", tag="7", claim="weights",
    images={"textrank": f"ghcr.io/somebody/api:1@sha256:{'0' * 64}"}, pull_secret="registry",
    cores=3, most=9, gateways=3, domain="example.org", resolver="10.96.0.10",
    parent="infrastructure/public", hostnames=("llm.example.com", "*.models.example.com"),
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """With a folder of weights, and the key and the authority of a model elsewhere."""
    root = tmp_path_factory.mktemp("lab")
    init_lab(root)
    (root / "weights").mkdir()
    (root / "weights" / "config.json").write_text("{}\n")
    key = root / "key"
    key.write_text(f"{SECRET_KEY}\n")
    key.chmod(0o600)
    (root / "ca.pem").write_text(Root().certificate)
    return Lab(root)


def config(**said: Any) -> Config:
    return Config.model_validate({"console": {"enabled": "off"}, **said})


def one_model(_: Lab) -> Plan:
    return Plan(config(), "textrank", (TEXTRANK,))


def three_models(lab: Lab) -> Plan:
    """One that computes, one with weights, and one elsewhere; and every kind of rule."""
    weights = TEXTRANK.model_copy(update={
        "deployment": "small-2", "name": "small", "folder": lab.root / "weights",
        "model": Model(runtime="transformers", source="path:weights"),
    })  # fmt: skip
    elsewhere = Settings(
        deployment="mistral", name="mistral", prompt="Say it shortly: {text}",
        model=Model(
            runtime="openai", base_url="https://models.example.com:8443/v1", model="mistral",
            fallback="textrank",
        ),
        key=lab.root / "key", ca=lab.root / "ca.pem",
    )  # fmt: skip
    traffic = summarizing(
        split=Split((Share("small-2", 25),), salt="rollout-1"),
        flags=(Flag("short", 10, decoding={"max_length": 40}),), rollout=1, step=1,
    )  # fmt: skip
    return Plan(
        config(), "textrank", (TEXTRANK, weights, elsewhere), traffic=traffic,
        further={"chat": "mistral"},
    )  # fmt: skip


PLANS: dict[str, tuple[Callable[[Lab], Plan], Wishes]] = {
    "one model": (one_model, Wishes()),
    "three models": (three_models, Wishes(registry="ghcr.io/team")),
    "every wish": (three_models, EVERY_WISH),
}


@pytest.fixture(scope="module", params=PLANS)
def exported(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an export."""
    plan, wishes = PLANS[request.param]
    folder = tmp_path_factory.mktemp("exports") / "kubernetes"
    write(folder, export(lab, plan(lab), KEYS, wishes).files, force=False)
    return folder


@pytest.fixture(params=BUILDERS)
def whole(request: pytest.FixtureRequest, exported: Path) -> Built:
    return BUILDERS[request.param](exported)


def written(lab: Lab, plan: Plan, folder: Path, wishes: Wishes = Wishes()) -> Built:  # noqa: B008
    write(folder / "kubernetes", export(lab, plan, KEYS, wishes).files, force=False)
    return built(folder / "kubernetes")


def pods(whole: Built) -> dict[str, Manifest]:
    """{name of the Deployment: its pod's specification}."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in whole.of("Deployment")
    }


# --- schemas -------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_the_schema_of_three_versions(exported: Path, version: str) -> None:
    for one in built(exported).manifests:
        if one["kind"] != "HTTPRoute":
            assert kubernetes_validate.validate(one, version, strict=True) == version


def test_a_manifest_with_a_mistake_does_not_fit_them(exported: Path) -> None:
    wrong = copy.deepcopy(built(exported).of("Deployment")[0])
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def closed(schema: Any) -> Any:
    """A schema by which an unknown key is a mistake, but for metadata, which is Kubernetes' own."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(one) for key, one in schema.items()}
    properties = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    return found | ({"additionalProperties": False} if properties else {})


def test_the_route_fits_the_schema_of_the_gateway_api(lab: Lab, tmp_path: Path) -> None:
    route = written(lab, three_models(lab), tmp_path, EVERY_WISH).named("HTTPRoute", "gateway")
    judge = jsonschema.Draft202012Validator(closed(json.loads(HTTP_ROUTE.read_text())))
    judge.validate(route)
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "infrastructure"}]
    assert route["spec"]["hostnames"] == ["llm.example.com", "*.models.example.com"]
    (rule,) = route["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "gateway", "port": 80}]
    assert rule["timeouts"]["request"] == "610s"  # service.stream_timeout, and the gateway's grace
    for change in ({"parentRef": {}}, {"hostnames": ["a b"]}):
        with pytest.raises(jsonschema.ValidationError):
            judge.validate({**route, "spec": {**route["spec"], **change}})


# --- kustomize -----------------------------------------------------------------------


def test_a_kustomization_names_files_that_are_there_and_leaves_none_out(exported: Path) -> None:
    there = {one for one in exported.rglob("*") if one.is_file()}
    beside = {exported / "README.md", exported / MARK, exported / "secrets" / ".gitignore"}
    assert built(exported).read == there - beside


def test_the_base_is_whole_but_for_the_secrets(exported: Path) -> None:
    for build in BUILDERS.values():
        found = build(exported / "base")
        assert {one["metadata"]["namespace"] for one in found.manifests} <= {"llmlab", "summaries"}
        assert not found.of("Secret")


def test_what_a_pod_mounts_is_there(whole: Built) -> None:
    for name, pod in pods(whole).items():
        (container,) = pod["containers"]
        volumes = {one["name"] for one in pod["volumes"]}
        assert volumes == {one["name"] for one in container["volumeMounts"]}, name
    assert as_mounted(pods(whole)["gateway"], whole, "/etc/nginx/lab")["lab/upstreams.conf"]
    told = as_mounted(pods(whole)["llmapi-textrank"], whole, "/etc/llmapi")
    assert Settings.model_validate_json(told["settings.json"], strict=False).name == "textrank"


def test_everything_is_found_by_the_labels_that_it_is_looked_for_by(whole: Built) -> None:
    names = set(pods(whole))
    for kind in ("Service", "PodDisruptionBudget"):
        assert {one["metadata"]["name"] for one in whole.of(kind)} == names
    for one in whole.of("Deployment"):
        name, labels = one["metadata"]["name"], one["spec"]["template"]["metadata"]["labels"]
        selectors = [
            one["spec"]["selector"]["matchLabels"],
            whole.named("Service", name)["spec"]["selector"],
            whole.named("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
        ]
        for selected in selectors:
            assert selected.items() <= labels.items()
        scaled = [
            each for each in whole.of("HorizontalPodAutoscaler")
            if each["spec"]["scaleTargetRef"]["name"] == name
        ]  # fmt: skip
        assert len(scaled) == ("replicas" not in one["spec"])


# --- what a pod may do ---------------------------------------------------------------


def test_every_pod_fits_the_restricted_standard(whole: Built) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    (namespace,) = whole.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(whole).values():
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        allowed = {"name", "configMap", "projected", "emptyDir", "persistentVolumeClaim"}
        assert all(set(volume) <= allowed for volume in pod["volumes"])
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert all("hostPort" not in port for port in container["ports"])
        assert container["resources"]["limits"]["memory"]
        assert {"readinessProbe", "livenessProbe", "lifecycle"} <= set(container)


def lets(whole: Built, who: dict[str, str], whom: dict[str, str], port: int) -> bool:
    """Whether a connection between two pods of the namespace is let out, and in: every direction
    in which some policy selects a pod is closed, but for what one of them allows."""

    def chosen(selector: Manifest, labels: dict[str, str]) -> bool:
        return selector.get("matchLabels", {}).items() <= labels.items()

    def passes(
        way: str, rules: str, peers: str, here: dict[str, str], there: dict[str, str]
    ) -> bool:
        concerned = [
            one["spec"] for one in whole.of("NetworkPolicy")
            if chosen(one["spec"]["podSelector"], here) and way in one["spec"]["policyTypes"]
        ]  # fmt: skip
        return not concerned or any(
            any(said["port"] == port for said in rule["ports"])
            and (peers not in rule or any(chosen(one["podSelector"], there) for one in rule[peers]))
            for spec in concerned
            for rule in spec.get(rules, [])
        )

    return passes("Egress", "egress", "to", who, whom) and passes(
        "Ingress", "ingress", "from", whom, who
    )


def test_the_apis_are_for_the_gateway_and_nobody_else(whole: Built) -> None:
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in whole.of("Deployment")
    }
    front, api, stranger = labels["gateway"], labels["llmapi-textrank"], {"app": "stranger"}
    scraper = {"app.kubernetes.io/name": "prometheus"}
    assert lets(whole, front, api, apis.PORT)
    assert lets(whole, stranger, front, gateway.PORT)
    assert lets(whole, scraper, front, metrics.PORT)
    for who, whom, port in (
        (stranger, api, apis.PORT), (scraper, api, apis.PORT), (api, api, apis.PORT),
        (api, front, gateway.PORT), (stranger, front, metrics.PORT), (api, stranger, 443),
        (front, stranger, 443),
    ):  # fmt: skip
        assert not lets(whole, who, whom, port)
    if elsewhere := labels.get("llmapi-mistral"):
        assert lets(whole, elsewhere, stranger, 8443)
        assert not lets(whole, elsewhere, stranger, 443)
        assert not lets(whole, elsewhere, front, gateway.PORT)


# --- keys ----------------------------------------------------------------------------


def test_keys_are_in_files_of_their_own_that_nobody_else_may_read(exported: Path) -> None:
    secret = str(KEYS.signing.jwk["k"])
    for one in exported.rglob("*"):
        closed_off = "secrets" in one.relative_to(exported).parts
        mode = one.stat().st_mode & 0o777
        if one.is_dir():
            assert mode == (0o700 if closed_off else 0o755), one
            continue
        assert mode == (0o600 if closed_off else 0o644), one
        if not closed_off:
            assert secret not in one.read_text() and SECRET_KEY not in one.read_text(), one
    assert secret in (exported / "secrets" / "llmapi.jwk").read_text()
    git = ("git", "-C", str(exported.parent))
    subprocess.run([*git, "init", "-q"], check=True)
    seen = subprocess.run(
        [*git, "status", "--porcelain", "-uall"], check=True, capture_output=True, text=True
    ).stdout
    assert f"{exported.name}/base/gateway.yaml" in seen
    assert "secrets" not in seen


def test_a_model_elsewhere_gets_its_key_and_whom_it_trusts(lab: Lab, tmp_path: Path) -> None:
    whole = written(lab, three_models(lab), tmp_path)
    pod = pods(whole)["llmapi-mistral"]
    mounted = as_mounted(pod, whole, "/run/upstream")
    assert mounted["key"].strip() == SECRET_KEY
    assert mounted["ca.pem"].startswith("-----BEGIN CERTIFICATE")
    told = Settings.model_validate_json(
        as_mounted(pod, whole, "/etc/llmapi")["settings.json"], strict=False
    )
    assert (str(told.key), str(told.ca), told.mounted) == (
        "/run/upstream/key", "/run/upstream/ca.pem", True,
    )  # fmt: skip
    for name in set(pods(whole)) - {"llmapi-mistral"}:
        assert "llmapi-mistral-key" not in json.dumps(pods(whole)[name])


def test_a_key_of_the_environment_is_taken_from_there(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = three_models(lab)
    mistral = plan.deployments[2]
    changed = mistral.model_copy(update={
        "model": mistral.model.model_copy(update={"key_env": "MISTRAL_KEY"}),
        "key": lab.root / "nowhere",
    })  # fmt: skip
    plan = replace(plan, deployments=(*plan.deployments[:2], changed))
    with pytest.raises(AuthError, match="the key of mistral cannot be read"):
        export(lab, plan, KEYS, Wishes())
    monkeypatch.setenv("MISTRAL_KEY", "sk-of-the-environment")
    files = export(lab, plan, KEYS, Wishes()).files
    assert [name for name, text in files.items() if "sk-of-the-environment" in text] == [
        "secrets/llmapi-mistral.key"
    ]


# --- models and images ---------------------------------------------------------------


def test_weights_are_in_an_image_whose_tag_says_which(lab: Lab, tmp_path: Path) -> None:
    told = export(lab, three_models(lab), KEYS, Wishes(registry="ghcr.io/team", tag="7"))
    found = content_id(lab.root / "weights")
    tag = f"small-{found.removeprefix('sha256:')[:12]}"
    assert told.images == (
        "ghcr.io/team/llmapi:7", f"ghcr.io/team/llmapi:{tag}", "ghcr.io/team/llmlab-nginx:7",
    )  # fmt: skip
    push = ("--push", "ghcr.io/team")
    assert told.builds == (
        ("--only", "llmapi", "--extra", "none", "--tag", "7", *push),
        ("--only", "llmapi", "--extra", "models", "--with-model", "small", "--tag", tag, *push),
        ("--only", "nginx", "--tag", "7", *push),
    )
    settings = json.loads(told.files["base/apis/small-2/settings.json"])
    assert settings["folder"] == "/opt/model"
    # So that a process loads these, and no others, whatever somebody puts under that tag.
    assert settings["model"]["content_id"] == found


def test_another_conversion_of_the_same_model_is_another_image(lab: Lab, tmp_path: Path) -> None:
    """Whose content id in lab.toml may be that of what was converted."""
    tags = set()
    for weights in (b"int8", b"float32"):
        (tmp_path / "model.bin").write_bytes(weights)
        (tmp_path / "llmlab-manifest.json").write_text("{}")
        model = Model(runtime="ctranslate2", source="path:source", content_id=f"sha256:{'7' * 64}")
        fast = TEXTRANK.model_copy(update={"name": "fast", "model": model, "folder": tmp_path})
        told = export(lab, replace(one_model(lab), deployments=(fast,)), KEYS, Wishes())
        settings = json.loads(told.files["base/apis/textrank/settings.json"])
        assert settings["model"]["content_id"] == content_id(tmp_path)
        tags.add(told.images[0])
    assert len(tags) == 2


def test_weights_may_be_in_a_volume_instead(lab: Lab, tmp_path: Path) -> None:
    # One image for all: it has to run the model with weights, too.
    assert export(lab, three_models(lab), KEYS, EVERY_WISH).builds[0] == (
        "--only", "llmapi", "--extra", "models", "--tag", "7", "--push", EVERY_WISH.registry,
    )  # fmt: skip
    whole = written(lab, three_models(lab), tmp_path, EVERY_WISH)
    pod = pods(whole)["llmapi-small-2"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.com:5000/team/llmapi:7"
    assert {"name": "model", "mountPath": "/model", "subPath": "small", "readOnly": True} in (
        container["volumeMounts"]
    )
    assert {
        "name": "model",
        "persistentVolumeClaim": {"claimName": "weights", "readOnly": True},
    } in (pod["volumes"])
    assert json.loads(as_mounted(pod, whole, "/etc/llmapi")["settings.json"])["folder"] == "/model"
    assert container["resources"]["limits"] == {"cpu": "3", "memory": "2Gi"}
    assert pods(whole)["llmapi-textrank"]["containers"][0]["image"].startswith("ghcr.io/somebody")
    assert {one["name"] for pod in pods(whole).values() for one in pod["imagePullSecrets"]} == {
        "registry"
    }


def test_a_pod_loads_the_weights_of_this_lab_and_no_others(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"weights")
    tiny = TEXTRANK.model_copy(update={
        "deployment": "tiny", "name": "tiny", "folder": tmp_path, "prompt": "Say it: {text}",
        "model": Model(runtime="llamacpp", source=f"path:{file}"),
    })  # fmt: skip
    plan = Plan(config(), "textrank", (TEXTRANK, tiny), further={"chat": "tiny"})
    told = export(lab, plan, KEYS, Wishes()).files["base/apis/tiny/settings.json"]
    settings = Settings.model_validate_json(told, strict=False)
    assert language_model(settings.model, tmp_path, settings.prompt)[0] == file
    file.write_bytes(b"others")
    with pytest.raises(ModelUnavailable, match="is expected"):
        language_model(settings.model, tmp_path, settings.prompt)


@pytest.mark.parametrize(
    ("memory", "asked"), [("2g", "256Mi"), ("512m", "256Mi"), ("128m", "128Mi")]
)
def test_a_process_never_asks_for_more_memory_than_it_may_have(
    lab: Lab, tmp_path: Path, memory: str, asked: str
) -> None:
    service = TEXTRANK.service.model_copy(update={"memory": memory})
    plan = replace(one_model(lab), deployments=(TEXTRANK.model_copy(update={"service": service}),))
    (container,) = pods(written(lab, plan, tmp_path))["llmapi-textrank"]["containers"]
    assert container["resources"]["requests"]["memory"] == asked


def scaled(lab: Lab, traffic: Traffic, **said: Any) -> Plan:
    """With a deployment beside the stable one, of whose model lab.toml says this."""
    model = Model.model_validate({**TEXTRANK.model.model_dump(), **said})
    twin = TEXTRANK.model_copy(update={"deployment": "twin", "name": "twin", "model": model})
    return replace(one_model(lab), deployments=(TEXTRANK, twin), traffic=traffic)


SMALL = {"runtime": "transformers", "source": "path:weights"}
BOUNDS = {"min": 2, "max": 7}
FREE = {"min": 0, "max": 7}


@pytest.mark.parametrize(
    ("replicas", "bounds", "wishes", "found"),
    [
        (0, None, Wishes(), (1, 4)),
        (3, None, Wishes(), (3, 4)),
        (9, None, Wishes(), (9, None)),
        (5, BOUNDS, Wishes(), (2, 7)),
        (5, BOUNDS, Wishes(most=3), (2, 3)),
        (5, {"min": 3, "max": 3}, Wishes(), (3, None)),
        (0, FREE, Wishes(), (1, 7)),
    ],
)
def test_an_autoscaler_goes_by_the_bounds_and_not_by_what_they_came_to(
    lab: Lab, tmp_path: Path, replicas: int, bounds: Any, wishes: Wishes, found: Any
) -> None:
    """No API server takes minReplicas: 0 of one that goes by the CPU; no schema says so."""
    traffic = Traffic(deployments=(Deployed("twin", "twin", replicas),))
    plan = scaled(lab, traffic, **({"scale": bounds} if bounds else {}))
    whole = written(lab, plan, tmp_path, wishes)
    specs = {one["metadata"]["name"]: one["spec"] for one in whole.of("HorizontalPodAutoscaler")}
    (deployment,) = (
        one["spec"] for one in whole.of("Deployment") if one["metadata"]["name"] == "llmapi-twin"
    )
    if spec := specs.get("llmapi-twin"):
        assert (spec["minReplicas"], spec["maxReplicas"]) == found
        assert "replicas" not in deployment
    else:
        assert (deployment["replicas"], None) == found
    rests = not replicas or bounds == FREE
    told = " ".join(export(lab, plan, KEYS, wishes).notes)
    assert ("free to be: twin." in told) == rests


def test_a_process_gets_the_cores_that_its_model_says_and_no_gpu_without_a_word(
    lab: Lab, tmp_path: Path
) -> None:
    whole = written(lab, scaled(lab, Traffic(), cores=0.5, gpus=1), tmp_path / "embedded")
    found = {name: one["containers"][0]["resources"] for name, one in pods(whole).items()}
    assert found["llmapi-twin"]["requests"]["cpu"] == "0.5"
    assert found["llmapi-textrank"]["requests"]["cpu"] == "250m"
    notes = export(lab, scaled(lab, Traffic(), gpus=1), KEYS, Wishes()).notes
    assert any("No GPU is asked of the cluster for twin:" in one for one in notes)

    plan = three_models(lab)
    small = plan.deployments[1]
    version = small.model_copy(update={"deployment": "big-2", "name": "big-2"})
    of_lab = config(models={"big": {**SMALL, "cores": 6, "gpus": 1}})
    registered = Plan(of_lab, "textrank", (TEXTRANK, version))
    (container,) = pods(written(lab, registered, tmp_path / "version"))["llmapi-big-2"][
        "containers"
    ]
    assert container["resources"]["limits"]["cpu"] == "6"
    notes = export(lab, registered, KEYS, Wishes()).notes
    assert any("No GPU is asked of the cluster for big-2:" in one for one in notes)

    big = small.model_copy(update={"model": small.model.model_copy(update={"cores": 8.0})})
    for wishes, cores in ((Wishes(), "8"), (Wishes(cores=3), "3")):
        of_big = replace(plan, deployments=(plan.deployments[0], big, plan.deployments[2]))
        (container,) = pods(written(lab, of_big, tmp_path / cores, wishes))["llmapi-small-2"][
            "containers"
        ]
        assert container["resources"]["limits"]["cpu"] == cores


def test_a_process_may_have_the_memory_of_its_model_where_that_says_so(
    lab: Lab, tmp_path: Path
) -> None:
    model = TEXTRANK.model.model_copy(update={"memory": "512m"})
    plan = replace(one_model(lab), deployments=(TEXTRANK.model_copy(update={"model": model}),))
    (container,) = pods(written(lab, plan, tmp_path))["llmapi-textrank"]["containers"]
    assert container["resources"]["limits"]["memory"] == "512Mi"


# --- the gateway ---------------------------------------------------------------------


def test_the_gateway_is_the_labs_own_nginx_conf_and_the_routes_of_now(
    lab: Lab, tmp_path: Path
) -> None:
    whole = written(lab, three_models(lab), tmp_path)
    files = as_mounted(pods(whole)["gateway"], whole, "/etc/nginx/lab")
    assert files["nginx.conf"] == lab.nginx_conf.read_text()
    assert re.search(r"25(\.0+)?% +\S*small-2", files["lab/routes.conf"])
    assert json.loads(files["llmapi.jwk"])["keys"][0]["kid"] == KEYS.signing.kid
    for name in ("textrank", "small-2", "mistral"):
        server = f"server llmapi-{name}.llmlab.svc.cluster.local:{apis.PORT} resolve"
        assert server in files["lab/upstreams.conf"]


@pytest.mark.slow
@pytest.mark.parametrize("said", [
    {}, {"gateway": {"tls": {"enabled": True}}}, {"budgets": [{"tokens_per_day": 9}]},
])  # fmt: skip
def test_nginx_takes_what_a_pod_mounts(lab: Lab, tmp_path: Path, said: dict[str, Any]) -> None:
    plan = replace(three_models(lab), config=config(**said))
    Certificates(lab).keep_if_none(plan.config.gateway)
    whole = written(lab, plan, tmp_path, Wishes(resolver="[2001:db8::53]:5353"))
    for name, text in as_mounted(pods(whole)["gateway"], whole, "/etc/nginx/lab").items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    command = find_nginx().command(tmp_path, tmp_path / "conf" / "nginx.conf", "-t", "-q")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "[emerg]" in done.stderr) == (0, False), done.stderr
    (tmp_path / "conf" / "lab" / "upstreams.conf").write_text("upstream {}")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_with_tls_its_key_is_a_secret(lab: Lab, tmp_path: Path) -> None:
    plan = replace(one_model(lab), config=config(gateway={"tls": {"enabled": True}}))
    Certificates(lab).keep_if_none(plan.config.gateway)
    told = export(lab, plan, KEYS, Wishes())
    assert any("nobody in the cluster renews it" in one for one in told.notes)
    assert [name for name, text in told.files.items() if "PRIVATE KEY" in text] == [
        "secrets/lab.tls.key"
    ]
    whole = written(lab, plan, tmp_path)
    files = as_mounted(pods(whole)["gateway"], whole, "/etc/nginx/lab")
    assert "PRIVATE KEY" in files["lab/tls.key"]
    assert files["lab/tls.pem"].startswith("-----BEGIN CERTIFICATE")
    assert whole.named("Service", "gateway")["spec"]["ports"][0]["port"] == 443


def test_nginx_plus_gets_its_licence_as_a_secret(lab: Lab, tmp_path: Path) -> None:
    (lab.root / "license.jwt").write_text("a-licence")
    said = {"gateway": {"edition": "plus", "license": "license.jwt"}}
    plan = replace(one_model(lab), config=config(**said))
    whole = written(lab, plan, tmp_path)
    pod = pods(whole)["gateway"]
    (container,) = pod["containers"]
    assert container["image"].startswith("private-registry.nginx.com/nginx-plus/")
    assert container["command"][0] == "nginx"
    assert as_mounted(pod, whole, "/etc/nginx/lab")["license.jwt"] == "a-licence"
    assert "a-licence" not in "".join(
        (one.read_text()) for one in (tmp_path / "kubernetes" / "base").rglob("*") if one.is_file()
    )
    kubernetes_validate.validate(whole.named("Deployment", "gateway"), VERSIONS[0], strict=True)


HERE = ("127.0.0.21", "127.0.0.22")


@pytest.fixture
def running_apis(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Built, dict[str, subprocess.Popen[bytes]], Any]]:
    """Two real APIs at addresses of their own, told what an exported pod is told, and a name server
    by which their Service is found."""
    with ExitStack() as held:
        names = held.enter_context(name_server())
        for module in (apis, gateway, metrics):
            monkeypatch.setattr(module, "PORT", free_port())
        names.known["llmapi-textrank.llmlab.svc.cluster.local"] = [HERE[0]]
        plan = replace(one_model(lab), config=config(gateway={"rate_limit": {"enabled": False}}))
        wishes = Wishes(resolver=f"127.0.0.1:{names.port}")
        whole = written(lab, plan, tmp_path, wishes)
        pod = pods(whole)["llmapi-textrank"]
        settings = tmp_path / "settings.json"
        settings.write_text(as_mounted(pod, whole, "/etc/llmapi")["settings.json"])
        arguments = pod["containers"][0]["args"]
        processes = {}
        for host in HERE:
            told = [str(settings), *arguments[1:]]
            told[told.index("--host") + 1] = host
            processes[host] = subprocess.Popen(
                [sys.executable, "-P", "-m", "llmlab.service", *told],
                cwd=tmp_path, env=clean_env(), stdout=subprocess.DEVNULL,
            )  # fmt: skip
            held.callback(processes[host].wait)
            held.callback(processes[host].kill)
        probe = pod["containers"][0]["readinessProbe"]["httpGet"]["path"]
        for host in HERE:
            wait_until(lambda host=host: _status(f"http://{host}:{apis.PORT}{probe}") == 200, 60)
        yield whole, processes, names


def _status(url: str) -> int:
    with suppress(httpx2.HTTPError):
        return int(httpx2.get(url, timeout=5, trust_env=False).status_code)
    return 0


@pytest.mark.slow
def test_an_exported_gateway_finds_pods_by_name_and_goes_on_without_one(
    running_apis: tuple[Built, dict[str, subprocess.Popen[bytes]], Any],
) -> None:
    whole, processes, names = running_apis
    files = as_mounted(pods(whole)["gateway"], whole, "/etc/nginx/lab")
    token = mint(KEYS.signing, Claims(sub="tester"))
    with (
        started(files, gateway.PORT, KEYS) as running,
        httpx2.Client(base_url=running.url, timeout=30, trust_env=False) as stranger,
        httpx2.Client(
            base_url=running.url, timeout=30, trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        ) as client,
    ):  # fmt: skip

        def ask() -> int:
            body = {"text": "The keeper lit the lamp. A ship far out read its light."}
            return int(client.post("/summarize/", json=body).status_code)

        wait_until(lambda: _status(f"{running.url}/health") == 200)
        assert stranger.post("/summarize/", json={"text": "One."}).status_code == 401
        assert ask() == 200
        # Another pod, and the first one goes: nothing is reloaded, and no request is lost.
        names.known["llmapi-textrank.llmlab.svc.cluster.local"] = list(HERE)
        wait_until(lambda: ask() == 200 and _asked(HERE[1]) > 0, 30)
        processes[HERE[0]].kill()
        processes[HERE[0]].wait()
        assert [ask() for _ in range(10)] == [200] * 10


def _asked(host: str) -> float:
    page = httpx2.get(f"http://{host}:{apis.PORT}/metrics", timeout=5, trust_env=False).text
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
        if line.startswith("llmlab_requests_total") and "summarize" in line
    )  # fmt: skip


# --- what is refused, and what is said -----------------------------------------------

WITH_DEMO = replace(KEYS, keys=(*KEYS.keys, Key(demo.JWK)))
ISSUER = {"name": "corp", "issuer": "https://login.example.com", "audience": "llmlab"}
REFUSED: dict[str, tuple[dict[str, Any], KeySet, Wishes, type[LlmlabError], str]] = {
    "no key": ({}, KeySet(), Wishes(), AuthError, "no key yet"),
    "the demo key": ({}, WITH_DEMO, Wishes(), UsageError, "would let anybody in"),
    "a WAF": (
        {"gateway": {"waf": {"enabled": True}}}, KEYS, Wishes(), UsageError, "without its WAF",
    ),
    "providers": (
        {"auth": {"issuers": [ISSUER]}}, KEYS, Wishes(), UsageError, "good there for ever",
    ),
    "budgets that each gateway counts": (
        {"budgets": [{"tokens_per_day": 9}]}, KEYS, Wishes(gateways=2), UsageError, "as many times",
    ),
    "a second port": (
        {"gateway": {"tls": {"enabled": True, "redirect_port": 8080}}}, KEYS, Wishes(), UsageError,
        "redirect_port",
    ),
    "TLS behind an HTTPRoute": (
        {"gateway": {"tls": {"enabled": True}}}, KEYS, Wishes(parent="public"), UsageError,
        "speaks plain HTTP",
    ),
    "a namespace that is none": ({}, KEYS, Wishes(namespace="My_Lab"), UsageError, "--namespace"),
    "no namespace": ({}, KEYS, Wishes(namespace=""), UsageError, "--namespace"),
    "a resolver with more in it": (
        {}, KEYS, Wishes(resolver="dns; include /etc/passwd"), UsageError, "--resolver",
    ),
    "a domain with more in it": ({}, KEYS, Wishes(domain="a b"), UsageError, "--cluster-domain"),
    "a registry with a scheme": (
        {}, KEYS, Wishes(registry="https://ghcr.io"), UsageError, "--registry",
    ),
    "an image of nobody": (
        {}, KEYS, Wishes(images={"other": "a:1"}), UsageError, "does not deploy",
    ),
    "an image that is none": ({}, KEYS, Wishes(images={"textrank": "a b"}), UsageError, "no image"),
    "a host name without a Gateway": (
        {}, KEYS, Wishes(hostnames=("a.example.com",)), UsageError, "--gateway-api",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_less_safe_or_not_work_is_refused(lab: Lab, case: str) -> None:
    said, keys, wishes, kind, told = REFUSED[case]
    with pytest.raises(kind) as caught:
        export(lab, replace(one_model(lab), config=config(**said)), keys, wishes)
    assert told in f"{caught.value.message} {caught.value.fix}"
    assert caught.value.fix


@pytest.mark.parametrize("name", ["a" * 57, "tuned-"])
def test_a_name_that_no_service_can_have_is_refused(lab: Lab, name: str) -> None:
    named = TEXTRANK.model_copy(update={"deployment": name})
    with pytest.raises(UsageError, match="too long a name"):
        export(lab, Plan(config(), name, (named,)), KEYS, Wishes())


def test_an_image_is_nobodys_where_two_have_the_name(lab: Lab) -> None:
    named = TEXTRANK.model_copy(update={"deployment": "gateway"})
    plan = Plan(config(), "gateway", (named,))
    with pytest.raises(UsageError, match="a deployment has that name as well"):
        export(lab, plan, KEYS, Wishes(images={"gateway": "nginx:1"}))
    assert "base/llmapi-gateway.yaml" in export(lab, plan, KEYS, Wishes()).files


def test_a_model_on_this_machine_is_refused(lab: Lab) -> None:
    plan = three_models(lab)
    model = plan.deployments[2].model.model_copy(update={"base_url": "http://127.0.0.1:1/v1"})
    there = plan.deployments[2].model_copy(update={"model": model})
    with pytest.raises(UsageError, match="in a pod is the pod itself"):
        export(lab, replace(plan, deployments=(*plan.deployments[:2], there)), KEYS, Wishes())


def test_an_nginx_conf_that_goes_by_no_routes_is_refused(tmp_path: Path, lab: Lab) -> None:
    init_lab(tmp_path)
    (tmp_path / "nginx.conf").write_text("events {}\nhttp {}\n")
    with pytest.raises(ConfigError, match=r"nginx\.conf does not use"):
        export(Lab(tmp_path), three_models(lab), KEYS, Wishes())


def test_what_somebody_would_not_expect_is_said_with_a_way_out(lab: Lab) -> None:
    plan = three_models(lab)
    told = " ".join(export(lab, plan, KEYS, EVERY_WISH).notes)
    for said in ("A rollout is under way on summarize", "3 times 2r/s", "gateway.connections"):
        assert said in told
    budgets = replace(plan, config=config(budgets=[{"tokens_per_day": 9}]))
    found = export(lab, budgets, KEYS, Wishes())
    assert "no API tells the gateway what it has used" in " ".join(found.notes)
    front = list(yaml.safe_load_all(found.files["base/gateway.yaml"]))[1]
    assert front["spec"]["replicas"] == 1
    assert all("\nFix: " in one for one in found.notes)
    assert all(one.partition("\n")[0] in found.files["README.md"] for one in found.notes)


# --- the folder ----------------------------------------------------------------------


def test_an_export_replaces_one_of_before_and_nothing_else(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    first = write(folder, export(lab, three_models(lab), KEYS, Wishes()).files, force=False)
    (folder / "base" / "mine.yaml").write_text("mine")
    (folder / "overlay").mkdir()
    one = export(lab, one_model(lab), KEYS, Wishes()).files
    with pytest.raises(UsageError) as caught:
        write(folder, one, force=False)
    assert caught.value.fix == "--force replaces it"
    second = write(folder, one, force=True)
    assert set(second) < set(first)
    there = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert there == {*second, "base/mine.yaml"}
    assert (folder / "overlay").is_dir()
    assert not (folder / "base" / "apis" / "mistral").exists()
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_holds_something_else_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    files = export(lab, one_model(lab), KEYS, Wishes()).files
    (tmp_path / "notes.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="holds something else than an export"):
            write(tmp_path, files, force=force)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_an_export_that_was_broken_off_is_completed_by_the_next_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = tmp_path / "kubernetes", export(lab, three_models(lab), KEYS, Wishes()).files
    left = iter(range(12))

    def until_the_disk_is_full(path: Path, content: str, mode: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device", str(path))
        write_atomically(path, content, mode)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(writing, "write_atomically", until_the_disk_is_full)
        write(folder, files, force=False)
    names = write(folder, files, force=True)
    assert {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()} == {*names}


def test_a_folder_of_yours_keeps_its_mode(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    folder.mkdir(mode=0o700)
    write(folder, export(lab, one_model(lab), KEYS, Wishes()).files, force=False)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_mark_that_names_files_outside_removes_none(lab: Lab, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "kubernetes"
    outside.write_text("mine")
    folder.mkdir()
    told = ["../outside", str(outside), f"/{outside}", MARK]
    (folder / MARK).write_text(json.dumps({"files": told}))
    write(folder, export(lab, one_model(lab), KEYS, Wishes()).files, force=True)
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("linked", ["base", "base/apis", "gone/far"])
def test_a_link_in_the_place_of_a_folder_leads_no_export_outside(
    lab: Lab, tmp_path: Path, linked: str
) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "kubernetes"
    (outside / "deep").mkdir(parents=True)
    (outside / "mine.yaml").write_text("mine")
    (folder / linked).parent.mkdir(parents=True)
    (folder / linked).symlink_to(outside)
    mark = json.dumps({"files": [f"{linked}/mine.yaml", f"{linked}/deep/gone.yaml", MARK]})
    (folder / MARK).write_text(mark)
    with pytest.raises(UsageError, match="links in the place of folders") as told:
        write(folder, export(lab, one_model(lab), KEYS, Wishes()).files, force=True)
    assert told.value.fix == f"rm {folder / linked}"
    assert (folder / MARK).read_text() == mark
    assert sorted(one.name for one in outside.rglob("*")) == ["deep", "mine.yaml"]


def test_two_exports_of_the_same_lab_are_the_same(lab: Lab) -> None:
    found = [export(lab, three_models(lab), KEYS, EVERY_WISH).files for _ in range(2)]
    assert found[0] == found[1]


def test_keys_do_not_show_in_what_is_printed_of_an_export(lab: Lab) -> None:
    told = export(lab, three_models(lab), KEYS, Wishes())
    assert SECRET_KEY not in repr(told) and str(KEYS.signing.jwk["k"]) not in repr(told)


# --- the verb ------------------------------------------------------------------------


def test_the_verb_writes_them_and_says_how_far_they_are_checked(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    one = make_lab()
    assert one.run("export", "kubernetes").returncode == 4  # no key yet
    one.ok("keys", "init")
    done = one.run("export", "kubernetes", "--registry", "ghcr.io/team", "--tag", "7")
    assert done.returncode == 0, done.stderr
    assert "schema-checked, not run" in done.stderr
    assert done.stdout.splitlines() == [
        "Next:",
        "  llmlab build --only llmapi --extra none --tag 7 --push ghcr.io/team",
        "  llmlab build --only nginx --tag 7 --push ghcr.io/team",
        "  kubectl apply -k kubernetes --server-side",
    ]
    for line in done.stdout.splitlines()[1:3]:
        tagged = "llmapi:7" if "llmapi" in line else "llmlab-nginx:7"
        assert f"--tag {tagged} " in one.ok(*line.split()[1:], "--dry-run")
    built(one.root / "kubernetes")
    again = one.run("export", "kubernetes")
    assert (again.returncode, "--force replaces it" in again.stderr) == (2, True)
    wrong = one.run("export", "kubernetes", "--image", "textrank")
    assert (wrong.returncode, "does not say whose image" in wrong.stderr) == (2, True)
