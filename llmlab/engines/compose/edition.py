"""How the edition of the gateway changes the calls of docker compose."""

from __future__ import annotations

from llmlab.config import Config

COMPOSE_FILE = "docker-compose.yml"
PLUS_FILE = "configs/docker/plus.compose.yml"
PLUS_IMAGE = "private-registry.nginx.com/nginx-plus/base:debian"


def compose_files(config: Config) -> list[str]:
    """The files that make up the project, relative to the lab's folder."""
    return [COMPOSE_FILE, *([PLUS_FILE] if config.gateway.edition == "plus" else [])]


def gateway_image(config: Config, built: str) -> str:
    """What NGINX_IMAGE has to say to them. ``built`` is the image that `llmlab build` made."""
    plus = config.gateway.edition == "plus"
    return config.gateway.image or (PLUS_IMAGE if plus else built)
