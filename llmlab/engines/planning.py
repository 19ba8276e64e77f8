"""From the configuration to a plan: which models run, and which routes lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmlab import models
from llmlab.config import Config, Model
from llmlab.config.guards import BUILT_IN
from llmlab.engines.base import Plan, Say
from llmlab.errors import ModelUnavailable
from llmlab.guards.loading import load
from llmlab.lab import Lab
from llmlab.models.language import cannot_run, native_server
from llmlab.models.prompts import prompt_of
from llmlab.models.sources import checked_name
from llmlab.names import CHAT, SUMMARIZE
from llmlab.service.settings import Settings
from llmlab.upstreams.keys import upstream_files


def make_plan(
    config: Config,
    lab_root: Path,
    say: Say,
    *,
    only: Sequence[str] = (),
    fetch: bool = True,
    runs_here: bool = True,
) -> Plan:
    """Decide what runs, fetching and converting models that are not on disk.

    Args:
        only: models to deploy instead of the configured ones. The route summarize leads to the
            configured one if it is among them, else to the first that does nothing but
            summarize, if any; chat likewise to the first language model.
        fetch: whether a model may be downloaded and converted.
        runs_here: this installation serves the models, rather than a container's.

    Raises:
        UsageError: a named model is not defined, or its prompt is none.
        ModelUnavailable: a model cannot be had, and is not one that the fallback replaces.
    """
    wanted = list(dict.fromkeys(only or [*config.served.values(), *config.deploy]))
    for name in wanted:
        checked_name(name, config.models)
    routes = _routes(config, wanted, chosen=bool(only))
    stable = routes[SUMMARIZE]
    # Who answers for a model elsewhere while that does not has to be there before.
    wanted += [one for one in stand_ins(config, wanted) if one not in wanted]

    def settings(name: str) -> Settings:
        return settings_of(
            name, name, config.models[name], config, lab_root, say,
            fetch=fetch, runs_here=runs_here,
        )  # fmt: skip

    warnings: list[str] = []
    deployments: dict[str, Settings] = {}
    for name in [stable, *(one for one in wanted if one != stable)]:
        try:
            deployments.setdefault(name, settings(name))
        except ModelUnavailable as error:
            why = error.message.removeprefix(f"{name}: ")
            fix = f"\nFix: {error.fix}" if error.fix else ""
            others = [route for route, model in routes.items()
                      if model == name and route != SUMMARIZE]  # fmt: skip
            without = f"there is no route {' and '.join(others)}" if others else ""
            if name == stable and config.fallback not in ("", stable):
                fallback = config.fallback
                instead = f"{fallback} answers in its place" + (
                    f", and {without}" if without else ""
                )
                warnings.append(f"{name} cannot serve, so {instead}.\n{why}.{fix}")
                deployments[fallback] = settings(fallback)
                continue
            if only or name in config.deploy or not without or name == stable:
                raise
            warnings.append(f"{name} cannot serve, so {without}.\n{why}.{fix}")
    further = {
        route: model for route, model in routes.items()
        if route != SUMMARIZE and model in deployments
    }  # fmt: skip
    return Plan(
        config, next(iter(deployments)), tuple(deployments.values()), tuple(warnings),
        configured=tuple(deployments), further=further,
    )  # fmt: skip


def _routes(config: Config, wanted: Sequence[str], *, chosen: bool) -> dict[str, str]:
    """{route: model}: as configured, as far as those models are wanted.

    Args:
        chosen: somebody has named the models, whatever lab.toml says.
    """
    routes = {route: model for route, model in config.served.items() if model in wanted}
    if SUMMARIZE not in routes:
        for_it = [one for one in wanted if not config.models[one].chats]
        routes[SUMMARIZE] = next(iter(for_it), wanted[0])
    chatting = [one for one in wanted if config.models[one].chats]
    if chosen and chatting:
        routes.setdefault(CHAT, chatting[0])
    return routes


def settings_of(
    deployment: str,
    name: str,
    model: Model,
    config: Config,
    lab_root: Path,
    say: Say,
    *,
    fetch: bool,
    runs_here: bool,
) -> Settings:
    """What the API of a deployment is told, once its model is on disk.

    Raises:
        ModelUnavailable: it cannot be had, or may not be fetched.
        ConfigError: its prompt is none, or a guard cannot be loaded.
    """
    # What packages a container has is found out there: it says so as it starts.
    load(one for one in config.guards if runs_here or one.kind in BUILT_IN)
    prompt = prompt_of(name, model, lab_root)
    found = models.availability(
        name, model, lab_root, runs_here=runs_here, llama_server=config.service.llama_server
    )
    folder = found.folder
    if not found.ready:
        # What nothing here can run is not worth the way to it.
        in_vain = (
            model.runtime == "llamacpp"
            and runs_here
            and cannot_run(lab_root, config.service.llama_server)
        )
        if in_vain or not fetch:
            raise ModelUnavailable(f"{name}: {found.reason}", fix=found.fix)
        if model.repository:
            say(f"looking for {name} on the model hub")
        folder = models.pull(name, model, lab_root, say=say, runs_here=runs_here)
    service = config.service
    if model.runtime == "llamacpp" and runs_here:
        # Its process has another working folder, and maybe another PATH.
        native = native_server(lab_root, service.llama_server)
        service = service.model_copy(update={"llama_server": str(native or "none")})
    return Settings(
        deployment=deployment, name=name, model=model, folder=folder, prompt=prompt,
        service=service, guards=tuple(config.guards), **upstream_files(model, Lab(lab_root)),
    )  # fmt: skip


def stand_ins(config: Config, names: Sequence[str]) -> list[str]:
    """The models that answer for these while those do not."""
    found = (config.models[name].fallback for name in names)
    return list(dict.fromkeys(one for one in found if one))
