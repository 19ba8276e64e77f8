"""Whether the images on this machine can run a plan."""

from __future__ import annotations

from llmlab.engines.base import Plan
from llmlab.engines.compose.containers import VERSION, DockerEngine
from llmlab.engines.compose.extras import RUNTIMES_LABEL, check_runtimes
from llmlab.engines.compose.images import BuiltImages, images_to_build
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.version import __version__


def check_images(docker: DockerEngine, lab: Lab, plan: Plan) -> None:
    """
    Raises:
        UsageError: one is not there, was built by another version, or lacks a runtime.
    """
    images = images_to_build(lab, plan.config)
    if not docker.has_images(images):
        raise UsageError(f"the images {' and '.join(images)} are not there yet", fix="llmlab build")
    if plan.config.gateway.waf.enabled:
        images.append(waf := BuiltImages.read(lab).waf)
        if not docker.has_images([waf]):
            raise UsageError(
                f"the image of the WAF, {waf}, is not there yet", fix="llmlab build --only waf"
            )
    for image in images:
        _check_version(docker, image)
    check_models(docker, lab, plan)


def check_models(docker: DockerEngine, lab: Lab, plan: Plan) -> None:
    """
    Raises:
        UsageError: the API's image lacks a runtime.
    """
    image = BuiltImages.read(lab).llmapi
    wanted = {one.name: one.model.runtime for one in plan.deployments}
    check_runtimes(image, docker.image_label(image, RUNTIMES_LABEL), wanted)


def _check_version(docker: DockerEngine, image: str) -> None:
    """An image of another version would not understand what is laid out for it."""
    version = docker.image_label(image, VERSION)
    if version != __version__:
        raise UsageError(
            f"{image} was built by llmlab {version or '(unknown)'}, and this is {__version__}",
            fix="llmlab build",
        )
