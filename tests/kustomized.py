"""What a kustomization comes to, by a reading of our own: where kubectl is, by kubectl as well."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
KUBECTL = shutil.which("kubectl")
LISTS = {"resources", "components", "configMapGenerator", "secretGenerator"}
SAID = {"apiVersion", "kind", "namespace"}


@dataclass
class Built:
    """All manifests, and the files that were read for them."""

    manifests: list[Manifest]
    read: set[Path]

    def of(self, kind: str) -> list[Manifest]:
        return [one for one in self.manifests if one["kind"] == kind]

    def named(self, kind: str, name: str) -> Manifest:
        (found,) = (one for one in self.of(kind) if one["metadata"]["name"] == name)
        return found


def built(folder: Path) -> Built:
    """
    Raises:
        AssertionError: the kustomization says what this reading does not know.
        OSError: a file that it names is not there.
    """
    file = folder / "kustomization.yaml"
    told = yaml.safe_load(file.read_text())
    assert set(told) <= LISTS | SAID, set(told)
    whole = Built([], {file})
    for name in told.get("resources", []) + told.get("components", []):
        place = folder / name
        if place.is_dir():
            part = built(place)
            wanted = "Component" if name in told.get("components", []) else "Kustomization"
            assert yaml.safe_load((place / "kustomization.yaml").read_text())["kind"] == wanted
            whole.manifests += part.manifests
            whole.read |= part.read
        else:
            whole.manifests += yaml.safe_load_all(place.read_text())
            whole.read.add(place)
    for kind, key in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for one in told.get(key, []):
            data = {}
            for entry in one["files"]:
                name, _, path = entry.rpartition("=")
                read = folder / path
                assert (name or read.name) not in data
                data[name or read.name] = read.read_text()
                whole.read.add(read)
            metadata = {"name": one["name"], "namespace": one["namespace"]}
            whole.manifests.append({"apiVersion": "v1", "kind": kind, "metadata": metadata,
                                    "data": data})  # fmt: skip
    return whole


def by_kubectl(folder: Path) -> Built:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(done.stdout))
    for one in found:
        if one["kind"] == "Secret":
            one["data"] = {k: base64.b64decode(v).decode() for k, v in one["data"].items()}
    return Built(found, set())


BUILDERS: dict[str, Callable[[Path], Built]] = {
    "our own reading": built, **({"kubectl": by_kubectl} if KUBECTL else {}),
}  # fmt: skip


def as_mounted(pod: Manifest, whole: Built, mount: str) -> dict[str, str]:
    """{path: content} of what a pod finds at a place of its own."""
    (container,) = pod["containers"]
    (where,) = (one for one in container["volumeMounts"] if one["mountPath"] == mount)
    (volume,) = (one for one in pod["volumes"] if one["name"] == where["name"])
    if "configMap" in volume:
        return dict(whole.named("ConfigMap", volume["configMap"]["name"])["data"])
    found: dict[str, str] = {}
    for source in volume["projected"]["sources"]:
        ((kind, said),) = source.items()
        data = whole.named({"configMap": "ConfigMap", "secret": "Secret"}[kind], said["name"])[
            "data"
        ]
        items = said.get("items", [{"key": key, "path": key} for key in data])
        found |= {one["path"]: data[one["key"]] for one in items}
    return found
