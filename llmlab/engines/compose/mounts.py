"""What docker-compose.yml mounts: settings, model and gateway configuration of a lab."""

from __future__ import annotations

from pathlib import Path

from llmlab import models
from llmlab.auth import KeySet
from llmlab.config import Config
from llmlab.engines.compose.notebook import write_tokens
from llmlab.errors import ModelUnavailable
from llmlab.files import write_atomically
from llmlab.gateway import GatewayPlan, Releases, Upstream, render
from llmlab.lab import Lab, private_folder
from llmlab.service.settings import Settings

# Docker's own name server; the API's address may change when its container is replaced.
RESOLVER = "127.0.0.11"
MODEL_MOUNT = Path("/model")
# Everything below .llmlab/ is closed to other users of this machine; the containers' users
# see only the mounted folders, which have to be open to them.
OPEN_FOLDER, OPEN_FILE = 0o755, 0o644


def prepare(lab: Lab, config: Config, keys: KeySet) -> str:
    """Render .llmlab/compose/. Nothing is fetched: a stable model that is not on disk is
    replaced by the fallback.

    Returns:
        The name of the model that will answer.
    """
    folder = private_folder(lab.state / "compose")
    name = _available(lab, config)
    settings = _settings(lab, config, name)
    private_folder(folder / "llmapi", OPEN_FOLDER)
    write_atomically(
        folder / "llmapi" / "settings.json", settings.model_dump_json(indent=1), OPEN_FILE
    )
    _link_model(folder / "model", _model_folder(lab, config, name))
    write_tokens(lab, keys, private_folder(folder / "jupyter", OPEN_FOLDER), mode=OPEN_FILE)
    releases = Releases(private_folder(folder / "nginx", OPEN_FOLDER), Path("/run/llmlab"))
    plan = GatewayPlan(
        listen="80", stable=name, upstreams=(Upstream(name, ("llmapi:80 resolve",)),),
        rate_limit=config.gateway.rate_limit, max_body=config.gateway.max_body,
        timeout=config.service.timeout, resolver=RESOLVER,
        demo_kid=keys.demo_kid if config.gateway.loopback else "",
    )  # fmt: skip
    releases.activate(
        releases.write(
            {
                "nginx.conf": lab.nginx_conf.read_text(encoding="utf-8"),
                "llmapi.jwk": keys.gateway_jwks(),
                **render(plan),
            },
            folder_mode=OPEN_FOLDER,
            file_mode=OPEN_FILE,
        )
    )
    releases.keep_only_current()  # the others may hold keys that were revoked since
    return name


def _available(lab: Lab, config: Config) -> str:
    for name in (config.stable, config.fallback):
        if name and models.availability(name, config.models[name], lab.root).ready:
            return name
    raise ModelUnavailable(
        f"{config.stable} is not on disk, and there is no fallback",
        fix=f"llmlab models pull {config.stable}",
    )


def _model_folder(lab: Lab, config: Config, name: str) -> Path | None:
    return models.availability(name, config.models[name], lab.root).folder


def _settings(lab: Lab, config: Config, name: str) -> Settings:
    folder = _model_folder(lab, config, name)
    return Settings(
        deployment=name, name=name, model=config.models[name], service=config.service,
        folder=MODEL_MOUNT / _mounted_part(folder)[1] if folder else None,
    )  # fmt: skip


def _mounted_part(folder: Path) -> tuple[Path, Path]:
    """(what has to be mounted, the model's folder in it).

    The files of a hub snapshot are links to ../../blobs, so its whole repository is mounted.
    """
    if folder.parent.name == "snapshots":
        return folder.parent.parent, Path("snapshots", folder.name)
    return folder, Path()


def _link_model(link: Path, folder: Path | None) -> None:
    """Point ``link`` at what is mounted as the model: a folder, empty for an embedded model."""
    if link.is_symlink():
        link.unlink()
    if folder is None:
        private_folder(link, OPEN_FOLDER)
        return
    if link.is_dir():
        link.rmdir()
    link.symlink_to(_mounted_part(folder)[0])
