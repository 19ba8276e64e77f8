"""Which optional packages the API's image holds, and so which runtimes it can run."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmlab.config import Config
from llmlab.errors import UsageError

# What `llmlab build --extra` takes, the smallest first. "none" is the embedded model alone, and
# what is elsewhere.
RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "none": ("extractive", "scripted", "openai"),
    "chat": ("extractive", "scripted", "openai", "llamacpp"),
    "serve": ("extractive", "scripted", "openai", "ctranslate2"),
    "serve,chat": ("extractive", "scripted", "openai", "ctranslate2", "llamacpp"),
    "models": ("extractive", "scripted", "openai", "ctranslate2", "transformers"),
    "models,chat": ("extractive", "scripted", "openai", "ctranslate2", "transformers", "llamacpp"),
}
RUNTIMES_LABEL = "llmlab.runtimes"  # of the image: the names above, with spaces between


def chosen_extra(asked: str, config: Config, model: str = "") -> str:
    """The extra to build with: the one that is asked for, else the one that the lab's models
    need; never ``none``, so that a lab may turn from the embedded model to a converted one.

    Args:
        asked: "" for what the models need.
        model: the one to bake in, beside the stable one, those deployed and the fallback.

    Raises:
        UsageError: there is no such extra, or it could not run the model to be baked in.
    """
    if asked not in ("", *RUNTIMES):
        raise UsageError(
            f"--extra {asked!r} is none of {', '.join(RUNTIMES)}",
            fix="llmlab build --help says what each of them is for",
        )
    baked = {config.models[model].runtime} if model else set()
    if not asked:
        names = {*config.served.values(), *config.deploy, config.fallback} - {""}
        return smallest_extra({"ctranslate2", *baked, *(config.models[n].runtime for n in names)})
    if missing := baked - set(RUNTIMES[asked]):
        raise UsageError(
            f"with --extra {asked} the image has no packages that could run {model} "
            f"({', '.join(missing)})",
            fix=f"llmlab build --extra {smallest_extra(missing)} --with-model {model}",
        )
    return asked


def smallest_extra(runtimes: Collection[str]) -> str:
    """The first extra that can run all of these."""
    return next(extra for extra, can in RUNTIMES.items() if set(runtimes) <= set(can))


def check_runtimes(image: str, label: str, wanted: Mapping[str, str]) -> None:
    """
    Args:
        label: what the image says that it can run.
        wanted: {model's name: its runtime}.

    Raises:
        UsageError: the image cannot run one of these models.
    """
    for name, runtime in wanted.items():
        if runtime not in label.split():
            raise UsageError(
                f"{image} cannot run {name}: it has no packages for the runtime {runtime}",
                fix=f"llmlab build --extra {smallest_extra({*wanted.values()})}",
            )
