"""What a person may say of an export; whatever else it holds comes from the lab."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmlab.engines.compose.push import REPOSITORY
from llmlab.errors import UsageError
from llmlab.version import __version__

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"{LABEL}(?:\.{LABEL})*"
# [host/]path[:tag][@digest], as https://docs.docker.com/reference/cli/docker/image/tag/ has it.
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]*(?:@sha256:[0-9a-f]{64})?")
ALLOWED = {
    "--namespace": (LABEL, "llmlab"),
    "--cluster-domain": (DOMAIN, "cluster.local"),
    "--resolver": (
        rf"(?:{DOMAIN}|\d+(?:\.\d+){{3}}|\[[0-9a-f:.]+\])(?::\d{{1,5}})?",
        "dns-default.openshift-dns.svc.cluster.local",
    ),
    "--tag": (r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", __version__),
    "--pull-secret": (DOMAIN, "registry"),
    "--models-claim": (DOMAIN, "models"),
    "--gateway-api": (rf"(?:{LABEL}/)?{DOMAIN}", "infrastructure/public"),
    "--hostname": (rf"(?:\*\.)?{DOMAIN}", "llm.example.com"),
}


@dataclass(frozen=True)
class Wishes:
    """
    Args:
        namespace: in which it runs; names of Services in the gateway's configuration hold it.
        registry: where the images are, without a slash at the end; "" for none.
        tag: of the images that hold no model.
        images: {deployment, or ``gateway``: its image}.
        claim: a PersistentVolumeClaim with the models' files; "" = images hold them.
        pull_secret: with what images are pulled; "" for none.
        cores: of a process whose model has weights; 0 = what its model says, else two.
        most: processes that an autoscaler may come to; 0 = what its model says, else four.
        gateways: processes of the gateway; 0 = two, and one where there are budgets.
        domain: the cluster's own.
        resolver: its name server; "" = kube-dns, as most clusters call it.
        parent: ``[NAMESPACE/]NAME`` of a Gateway that an HTTPRoute leads from; "" for none.
        hostnames: what that is asked by.
    """

    namespace: str = "llmlab"
    registry: str = ""
    tag: str = __version__
    images: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""
    pull_secret: str = ""
    cores: int = 0
    most: int = 0
    gateways: int = 0
    domain: str = "cluster.local"
    resolver: str = ""
    parent: str = ""
    hostnames: tuple[str, ...] = ()

    @property
    def name_server(self) -> str:
        return self.resolver or f"kube-dns.kube-system.svc.{self.domain}"


def checked(wishes: Wishes) -> Wishes:
    """
    Raises:
        UsageError: one of them is none that Kubernetes, NGINX or a registry would take.
    """
    said = {
        "--namespace": [wishes.namespace], "--cluster-domain": [wishes.domain],
        "--resolver": [wishes.resolver], "--tag": [wishes.tag],
        "--pull-secret": [wishes.pull_secret], "--models-claim": [wishes.claim],
        "--gateway-api": [wishes.parent], "--hostname": list(wishes.hostnames),
    }  # fmt: skip
    for option, values in said.items():
        pattern, example = ALLOWED[option]
        for value in values:
            needed = option in ("--namespace", "--cluster-domain", "--tag", "--hostname")
            if (value or needed) and not re.fullmatch(pattern, value):
                raise UsageError(
                    f"{option} {value!r} is nothing that a cluster would take",
                    fix=f"{option} {example}, for example",
                )
    if wishes.registry and not REPOSITORY.fullmatch(f"{wishes.registry}/image"):
        raise UsageError(
            f"--registry {wishes.registry!r} is no place for images",
            fix="name it like registry.example.com/team, without a scheme",
        )
    for name, image in wishes.images.items():
        if not IMAGE.fullmatch(image):
            raise UsageError(
                f"--image {name}={image!r} is no image",
                fix=f"--image {name}=registry.example.com/team/llmapi:1",
            )
    if wishes.hostnames and not wishes.parent:
        raise UsageError(
            "--hostname is for an HTTPRoute, and there is none without a Gateway",
            fix="--gateway-api NAMESPACE/NAME names the Gateway of your cluster",
        )
    return wishes
