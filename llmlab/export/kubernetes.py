"""All files of an export: a base without secrets, a component with them, and what joins the two.

kustomization.yaml   what `kubectl apply -k` takes: namespace, base, components
namespace.yaml       with the Pod Security Standard that all of it fits
base/                to be committed, and to be the base of an overlay
secrets/             a component that generates the Secrets; closed to others, ignored by git
gateway-api/         a component with an HTTPRoute, where one was asked for
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmlab.auth import KeySet
from llmlab.engines.base import Plan
from llmlab.engines.compose.upstreams import CA, KEY
from llmlab.errors import EnvironmentFailure, UsageError, unreadable
from llmlab.export import apis, gateway, limits, network, pods, readme
from llmlab.export.deployed import Api, apis_of
from llmlab.export.gateway import Front, key_of
from llmlab.export.pods import Manifest
from llmlab.export.route import http_route
from llmlab.export.wishes import Wishes, checked
from llmlab.export.writing import SECRETS, in_yaml
from llmlab.lab import Lab
from llmlab.upstreams import keys as upstream_keys

NAMESPACE, KUSTOMIZATION = "namespace.yaml", "kustomization.yaml"
BASE, ROUTE = "base", "gateway-api"
BASE_KIND = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
COMPONENT = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}


@dataclass(frozen=True)
class Export:
    """
    Args:
        files: {path: text}; what is below secrets/ is secret.
        images: what the cluster has to be able to pull.
        builds: the arguments of ``llmlab build`` that make those that are this lab's.
        notes: what somebody who knows this lab would not expect.
    """

    files: Mapping[str, str]
    images: tuple[str, ...]
    builds: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Export({len(self.files)} files)"  # which hold keys


def export(lab: Lab, plan: Plan, keys: KeySet, wishes: Wishes) -> Export:
    """A lab as Kubernetes manifests. Nothing is written.

    Raises:
        UsageError: something of the lab would be less safe in a cluster, or not work.
        AuthError: a key is missing.
        EnvironmentFailure: a file of certificates cannot be read.
    """
    wishes = checked(wishes)
    limits.refuse(plan, keys, wishes)
    listed = apis_of(plan, wishes)
    front = gateway.front(lab, plan, keys, listed, wishes)
    files = _base(front, listed, wishes) | _secrets(front, listed, wishes) | _whole(wishes)
    if wishes.parent:
        files |= _component(ROUTE, {"httproute.yaml": in_yaml(http_route(front, wishes))})
    found = [*(one.image for one in listed), front.image]
    builds = [one for one in (*(api.build for api in listed), front.build) if one]
    told = Export(
        files, tuple(dict.fromkeys(found)), tuple(dict.fromkeys(builds)),
        limits.notes(lab, plan, front, wishes),
    )  # fmt: skip
    text = readme.readme(listed, wishes, told.images, told.builds, told.notes, front)
    return Export({**files, "README.md": text}, told.images, told.builds, told.notes)


def _base(front: Front, listed: Sequence[Api], wishes: Wishes) -> dict[str, str]:
    files = {
        "gateway.yaml": in_yaml(*gateway.manifests(front, wishes)),
        "network.yaml": in_yaml(*network.policies(listed, wishes)),
    }
    files |= {f"{api.name}.yaml": in_yaml(*apis.manifests(api, wishes)) for api in listed}
    resources = sorted(files)
    generated = {gateway.CONFIGURATION: [f"{key_of(one)}=gateway/{one}" for one in front.conf]}
    files |= {f"gateway/{name}": text for name, text in front.conf.items()}
    for api in listed:
        place = f"apis/{api.deployment}"
        told = apis.settings_of(api, wishes).model_dump_json(indent=1) + "\n"
        files[f"{place}/settings.json"] = told
        generated[f"{api.name}-settings"] = [f"{place}/settings.json"]
        if api.settings.ca:
            files[f"{place}/{CA}"] = _certificates(api)
            generated[f"{api.name}-ca"] = [f"{place}/{CA}"]
    files[KUSTOMIZATION] = in_yaml({
        **BASE_KIND,
        "namespace": wishes.namespace,
        "resources": resources,
        # Another content is another name, and so pods that are replaced one after the other: one
        # whose NGINX rejects it takes no request, and those of before go on.
        "configMapGenerator": _generators(generated, wishes),
    })  # fmt: skip
    return {f"{BASE}/{name}": text for name, text in files.items()}


def _secrets(front: Front, listed: Sequence[Api], wishes: Wishes) -> dict[str, str]:
    files = {key_of(name): text for name, text in front.secret.items()}
    generated = {gateway.KEYS: sorted(files)}
    for api in listed:
        if api.settings.key:
            files[f"{api.name}.key"] = _key_of(api) + "\n"
            generated[f"{api.name}-key"] = [f"{KEY}={api.name}.key"]
    files[".gitignore"] = "# Keys: nothing of it into a repository.\n*\n"
    return {
        **{f"{SECRETS}/{name}": text for name, text in files.items()},
        f"{SECRETS}/{KUSTOMIZATION}": in_yaml(
            {**COMPONENT, "secretGenerator": _generators(generated, wishes)}
        ),
    }


def _whole(wishes: Wishes) -> dict[str, str]:
    labels = {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
    }
    namespace: Manifest = {
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": wishes.namespace, "labels": labels | pods.PART},
    }  # fmt: skip
    components = [SECRETS, *([ROUTE] if wishes.parent else [])]
    whole = {**BASE_KIND, "resources": [NAMESPACE, BASE], "components": components}
    return {NAMESPACE: in_yaml(namespace), KUSTOMIZATION: in_yaml(whole)}


def _component(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    told = {**COMPONENT, "resources": sorted(files)}
    return {f"{folder}/{name}": text for name, text in files.items()} | {
        f"{folder}/{KUSTOMIZATION}": in_yaml(told)
    }


def _generators(files: Mapping[str, Iterable[str]], wishes: Wishes) -> list[Manifest]:
    return [
        {
            "name": name, "namespace": wishes.namespace, "files": list(listed),
            "options": {"labels": dict(pods.PART)},
        }
        for name, listed in files.items()
    ]  # fmt: skip


def _key_of(api: Api) -> str:
    """Of a model elsewhere; from the environment of this call, or as `up` has kept it."""
    file, model = api.settings.key, api.settings.model
    assert file
    if model.key_env and (given := os.environ.get(model.key_env, "")):
        return upstream_keys.value_of(given.encode(), file, api.settings.name)
    return upstream_keys.read(file, api.settings.name)


def _certificates(api: Api) -> str:
    file = api.settings.ca
    assert file
    try:
        return file.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise UsageError(f"{file} holds no certificates as PEM", fix=f"head {file}") from None
    except OSError as error:
        raise EnvironmentFailure(
            f"the certificates of {api.settings.name} cannot be read: {file}: {unreadable(error)}",
            fix=f"ls -l {file}",
        ) from None
