"""How the edition of the gateway changes the calls of docker compose."""

from __future__ import annotations

from llmlab.config import Config

COMPOSE_FILE = "docker-compose.yml"
PLUS_FILE = "configs/docker/plus.compose.yml"


def compose_files(config: Config) -> list[str]:
    """The files that make up the project, relative to the lab's folder."""
    return [COMPOSE_FILE, *([PLUS_FILE] if config.gateway.edition == "plus" else [])]


def file_options(config: Config) -> list[str]:
    """Options of `docker compose`, between it and its verb; none where its default will do."""
    files = compose_files(config)
    return [word for file in files for word in ("--file", file)] if len(files) > 1 else []


def image_variables(config: Config) -> dict[str, str]:
    """What the project's files have to find in the environment."""
    return {"NGINX_IMAGE": config.gateway.image} if config.gateway.image else {}
