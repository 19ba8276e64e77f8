"""What is exported: the lab as it runs, or as it would be brought up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from llmlab.config import Model
from llmlab.delivery.merging import merge
from llmlab.engines.base import Plan, Say
from llmlab.engines.choice import running_engine
from llmlab.engines.compose.extras import smallest_extra
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.local.programs import unpriced
from llmlab.engines.planning import make_plan
from llmlab.engines.record import Record
from llmlab.engines.scale_bounds import bounds_of
from llmlab.errors import UsageError
from llmlab.export.wishes import Wishes
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.models.identity import content_id, id_of, short_id
from llmlab.models.language import weights as language_weights
from llmlab.models.language import weights_id
from llmlab.models.store import Manifest, is_stored
from llmlab.registry.catalogue import DEPLOYED, load_lab
from llmlab.service.settings import Settings

API = "llmapi"  # and a deployment: what its Service and all that is beside it are called
LONGEST = 63  # letters of a Service's name
MOST = 4  # processes that a deployment may come to, where nobody says


@dataclass(frozen=True)
class Api:
    """A deployment as it is exported.

    Args:
        settings: as its process is told; ``folder`` is where its files are on this machine.
        processes: at least so many, and one: what goes by the load of a pod needs a pod.
        most: an autoscaler may come to so many.
        cores: of a process, as its model says; 0 where that says nothing.
        image: what it runs.
        build: the arguments of ``llmlab build`` that make that image; () where it is another's.
    """

    settings: Settings
    processes: int
    most: int
    cores: float
    image: str
    build: tuple[str, ...] = ()

    @property
    def deployment(self) -> str:
        return self.settings.deployment

    @property
    def name(self) -> str:
        return f"{API}-{self.deployment}"

    @property
    def has_weights(self) -> bool:
        return self.settings.folder is not None

    @property
    def elsewhere(self) -> bool:
        return self.settings.model.runtime == "openai"


def plan_of(lab: Lab, say: Say) -> Plan:
    """Of a lab that runs, with the routes of this moment; else as lab.toml and what was deployed
    and routed since say. Nothing is fetched or converted.

    Raises:
        ModelUnavailable: a model is not on disk.
    """
    record = Record.read(lab)
    if record is not None and running_engine(lab) is not None:
        return record.plan()
    config = load_lab(lab, environ=os.environ).config
    plan = make_plan(config, lab.root, say, fetch=False, runs_here=False)
    return merge(lab, plan, Store(lab).traffic(), say, fetch=False, runs_here=False)


def apis_of(plan: Plan, wishes: Wishes) -> tuple[Api, ...]:
    """
    Raises:
        UsageError: one has a name that no Service can have, or ``--image`` names none of them.
    """
    for name in plan.names:
        if len(f"{API}-{name}") > LONGEST or name.endswith("-"):
            raise UsageError(
                f"{name} is too long a name for a Service of Kubernetes, or ends with a hyphen",
                fix=f"name the model otherwise: at most {LONGEST - len(API) - 1} letters",
            )
    if unknown := sorted(wishes.images.keys() - {*plan.names, "gateway"}):
        raise UsageError(
            f"--image names {', '.join(unknown)}, which this lab does not deploy",
            fix=f"one of gateway, {', '.join(plan.names)}",
        )
    if {*wishes.images} & {*plan.names} & {"gateway"}:
        raise UsageError(
            "--image gateway is the gateway's, and a deployment has that name as well",
            fix="name the model otherwise in configs/lab.toml",
        )
    # What holds no model is one image for all, and has to run each of them.
    shared = smallest_extra(
        {
            one.model.runtime for one in plan.deployments
            if one.deployment not in wishes.images and not _baked(one, wishes)
        }
    )  # fmt: skip
    return tuple(_api(plan, name, wishes, shared) for name in plan.names)


def _baked(settings: Settings, wishes: Wishes) -> bool:
    return settings.folder is not None and not wishes.claim


def _api(plan: Plan, name: str, wishes: Wishes, shared: str) -> Api:
    settings = _pinned(unpriced(plan.settings(name)))
    least, most = _processes(plan, settings, wishes)
    cores = taken(plan, settings, "cores")
    if given := wishes.images.get(name):
        return Api(settings, least, most, cores, given)
    image = BuiltImages.llmapi.partition(":")[0]
    tag, build = wishes.tag, ["--only", "llmapi", "--extra", shared]
    if _baked(settings, wishes):
        # Other weights are another image: none is ever replaced by another of the same name.
        tag = f"{settings.name}-{short_id(settings.model.content_id)}"
        build = ["--only", "llmapi", "--extra", smallest_extra({settings.model.runtime}),
                 "--with-model", settings.name]  # fmt: skip
    build += ["--tag", tag, *(["--push", wishes.registry] if wishes.registry else [])]
    return Api(settings, least, most, cores, named(image, tag, wishes.registry), tuple(build))


def _processes(plan: Plan, settings: Settings, wishes: Wishes) -> tuple[int, int]:
    """How few and how many. Where it has bounds, how many there are now is what the scaler has made
    of this minute, and nothing to go by."""
    scale = bounds_of(plan, settings.deployment)
    least = scale.least if scale.is_on else max(1, plan.replicas(settings.deployment))
    if settings.model.runtime == "openai":  # its cores are not what it waits for
        return least, least
    return least, max(least, wishes.most or scale.max or MOST)


def taken(plan: Plan, settings: Settings, what: Literal["cores", "gpus"]) -> float:
    """Cores or GPUs of each process, as its model says; else, for the registry says nothing of
    them, as the model of lab.toml does that it is a version of; 0 where nobody says."""
    version = DEPLOYED.fullmatch(settings.name)
    models = (settings.model, plan.config.models.get(version[1]) if version else None)
    unsaid = Model.model_fields[what].default
    found = (getattr(one, what) for one in models if one)
    return float(next((one for one in found if one != unsaid), 0))


def named(image: str, tag: str, registry: str) -> str:
    """An image that `llmlab build` makes, as a cluster pulls it."""
    return f"{registry}/{image}:{tag}" if registry else f"{image}:{tag}"


def _pinned(settings: Settings) -> Settings:
    """With the content id of its files as they lie here, so that no other ones are loaded in a
    cluster, whatever an image or a volume holds by then. What lab.toml says may be the id of what
    they were converted from, and so of several."""
    # A path of this machine is none there.
    service = settings.service.model_copy(update={"llama_server": "none"})
    settings = settings.model_copy(update={"service": service})
    folder = settings.folder
    if folder is None:
        return settings
    if settings.model.runtime == "llamacpp":
        file = language_weights(settings.model, folder)
        stored = is_stored(folder)
        found = id_of(dict(Manifest.read(folder).files)) if stored else weights_id(file)
    else:
        found = content_id(folder)
    model = settings.model.model_copy(update={"content_id": found})
    return settings.model_copy(update={"model": model})
