"""README.md of an export: what it is, how it gets into a cluster, and what it is not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from llmlab.export import gateway
from llmlab.export.deployed import Api
from llmlab.export.gateway import Front
from llmlab.export.limits import NEVER
from llmlab.export.wishes import Wishes


def readme(
    listed: Sequence[Api], wishes: Wishes, images: Sequence[str],
    builds: Sequence[Sequence[str]], notes: Sequence[str], front: Front,
) -> str:  # fmt: skip
    return "\n".join([
        "# A lab for Kubernetes",
        "",
        "Written by `llmlab export kubernetes`. **Schema-checked, not run**: the manifests fit the "
        "schemas of Kubernetes, and the gateway's configuration is that of the lab, but nobody has "
        "applied this to a cluster. Try it where nobody depends on it first.",
        "",
        "## Images",
        "",
        *(["These are made in the lab (the last ones are its own under Compose as well):", "",
           "```sh", *map(command, builds), "```", ""]
          if builds else []),
        "The cluster pulls:",
        "",
        *(f"- `{image}`" for image in images),
        "",
        *_models(listed, wishes),
        "## Apply",
        "",
        "```sh",
        "kubectl apply -k . --server-side",
        f"kubectl -n {wishes.namespace} wait deployment --all --for=condition=Available "
        "--timeout=15m",
        f"kubectl -n {wishes.namespace} port-forward service/{gateway.NAME} 8000:{front.port}",
        "```",
        "",
        "`llmlab token` prints a token in the lab, which is good in the cluster as well. Once the "
        "namespace is there, `kubectl diff -k . --server-side` shows what the next export changes; "
        "`kubectl delete -k .` takes all of it away.",
        "",
        "## From a repository (GitOps)",
        "",
        "Commit `base/`, and have it as a base of your overlay. `secrets/` ignores itself: bring "
        "the Secrets in as you do others (Sealed Secrets, External Secrets, SOPS), under these "
        "names:",
        "",
        *_secrets(listed, front),
        "",
        "Names in the gateway's configuration hold the namespace and the cluster's domain: another "
        "namespace or a prefix is another export (`--namespace`), and no transformer.",
        "",
        "## What it relies on",
        "",
        f"- A name server at `{wishes.name_server}`, which the gateway asks for the APIs' pods "
        "each 5 s (`--resolver` names another one). IPv4, or both.",
        "- A network plugin that enforces NetworkPolicy. Without one, every pod of the cluster may "
        "ask the APIs, without a token and in anybody's name. What gateway and APIs say to each "
        "other is not encrypted.",
        "- Kubernetes 1.27 or newer, and a metrics server for the autoscalers.",
        *([f"- The Gateway `{wishes.parent}` lets routes of the namespace `{wishes.namespace}` in; "
           "the Gateway API is 1.2 or newer."] if wishes.parent else []),
        "",
        "## What it has not",
        "",
        *(f"- {one}" for one in NEVER),
        *(["", "## Of this lab", "", *("- " + one.replace("\n", " ") for one in notes)]
          if notes else []),
        "",
    ])  # fmt: skip


def command(build: Sequence[str]) -> str:
    """A build, as a shell takes it."""
    return shlex.join(["llmlab", "build", *build])


def _models(listed: Sequence[Api], wishes: Wishes) -> list[str]:
    with_files = [one for one in listed if one.has_weights]
    if not with_files:
        return []
    if not wishes.claim:
        return [
            "An image with a model's name in its tag holds that model's files; other files are "
            "another tag. A process checks them before it answers, and loads no others.",
            "",
        ]
    return [
        f"The models' files are in the PersistentVolumeClaim `{wishes.claim}`, which pods of all "
        "nodes can read, a folder each. Put there what these folders of this machine hold (follow "
        "links). A process checks them before it answers, and loads no others.",
        "",
        *(f"- `{one.settings.name}/`: the files of `{one.settings.folder}`" for one in with_files),
        "",
    ]


def _secrets(listed: Sequence[Api], front: Front) -> list[str]:
    held = {
        "llmapi.jwk": "the keys by which tokens are judged",
        "lab.tls.key": "the key of the gateway's certificate",
        "license.jwt": "the licence of NGINX Plus",
    }
    names = sorted(gateway.key_of(one) for one in front.secret)
    lines = [f"- `{gateway.KEYS}`: {', '.join(f'`{one}` ({held[one]})' for one in names)}"]
    lines += [
        f"- `{one.name}-key`: `key` (by which it asks {one.settings.model.base_url})"
        for one in listed if one.settings.key
    ]  # fmt: skip
    return lines
