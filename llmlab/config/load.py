"""Merge the layers of the configuration: flag > environment > lab.toml > default."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from llmlab.config.model import Model
from llmlab.config.schema import Config, as_spelled_today
from llmlab.config.section import item_of
from llmlab.errors import ConfigError, UsageError, unreadable
from llmlab.near import hint

PREFIX = "LLMLAB_"
# Short names for what is set most often, beside LLMLAB_<PATH>.
ALIASES = {"LLMLAB_PORT": "gateway.port", "LLMLAB_STABLE": "routes.summarize"}
# Variables of this prefix that are not part of the lab's configuration.
OTHER_VARIABLES = {
    "LLMLAB_LAB", "LLMLAB_HOME", "LLMLAB_URL", "LLMLAB_TOKEN", "LLMLAB_TOKEN_FILE",
    "LLMLAB_CA_FILE", "LLMLAB_CERTIFICATE_FILE",
}  # fmt: skip

# Keys that there were once, and what says the same now.
_GATE = 'is gone; rollout.latency_gate says it now, as "p50<=1.25x p95<=1.5x"'
GONE = {"rollout.latency_ratio": _GATE, "rollout.latency_margin": _GATE}


@dataclass(frozen=True)
class Loaded:
    """A valid configuration and, for each of its leaves, where the value came from."""

    config: Config
    origins: Mapping[str, str]

    def leaves(self) -> Iterator[tuple[str, Any, str]]:
        """(path, value, origin) of every leaf, in the schema's order."""
        for path, value in leaves_of(self.config):
            yield path, value, self.origins.get(path, "default")


def leaves_of(config: Config) -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf, in the schema's order."""
    yield from _flatten(config.model_dump())


# A model that is named but stands in no table: (the name it is deployed under, the model).
FindModel = Callable[[str], tuple[str, Model] | None]


def nowhere(_: str) -> None:
    """There are no models but those of lab.toml."""


def load_config(
    file: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    elsewhere: FindModel = nowhere,
) -> Loaded:
    """Read and validate the configuration once.

    Args:
        file: the lab.toml.
        flags: dotted path -> value, from the command line.
        environ: the process environment.
        elsewhere: finds models that are named but not defined. They are in the result as if
            they had been.

    Raises:
        ConfigError: names the path of every value that is wrong, and its origin.
    """
    return with_named_models(read_config(file, flags=flags, environ=environ), file, elsewhere)


def with_named_models(loaded: Loaded, file: Path, elsewhere: FindModel) -> Loaded:
    """A configuration in which every model that is named is defined.

    Raises:
        ConfigError: one cannot be found.
    """
    config, origins = loaded.config, dict(loaded.origins)
    for path, name in config.undefined_models():
        try:
            found = elsewhere(name)
        except UsageError as error:
            raise ConfigError(f"{path}: {error.message}", fix=error.fix) from None
        if found is None:
            origin = _origin(path, origins) or "default"
            raise ConfigError(
                f"{path}: no model {name!r} is defined (from {origin}){hint(name, config.models)}",
                fix="llmlab models list, for those that are registered"
                if ":" in name
                else f"name one of {', '.join(config.models)}, or add [models.{name}] to "
                f"{file.name}",
            )
        deployment, model = found
        config = with_model(config, deployment, model)
        origins |= {
            f"models.{deployment}.{leaf}": f"registry {name}" for leaf in Model.model_fields
        }
        config = config.model_copy(update=_named(config, path, deployment))
    return Loaded(config, origins)


def _named(config: Config, path: str, deployment: str) -> dict[str, Any]:
    """What changes where another name stands at a path: of a route, in `deploy`, or at the top."""
    place, _, item = path.partition(".")
    if place == "routes":
        return {"routes": config.routes.model_copy(update={item: deployment})}
    if place == "deploy":
        return {"deploy": [
            deployment if str(number) == item else one for number, one in enumerate(config.deploy)
        ]}  # fmt: skip
    return {place: deployment}


def with_model(config: Config, name: str, model: Model) -> Config:
    """A configuration with one more model.

    Raises:
        ConfigError: that name is another model's.
    """
    if config.models.get(name, model) != model:
        raise ConfigError(
            f"two models would be deployed as {name}", fix="name one of them by an alias"
        )
    return config.model_copy(update={"models": {**config.models, name: model}})


def read_config(
    file: Path,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read and validate the configuration, whether or not the models that it names are known.

    Raises:
        ConfigError: names the path of every value that is wrong, and its origin.
    """
    try:
        merged = as_spelled_today(_read_toml(file))
    except ValueError:
        raise ConfigError(
            "stable: is an old spelling of routes.summarize; say one of them "
            f"(from configs/{file.name})",
            fix=f"correct {file}",
        ) from None
    origins = {path: f"configs/{file.name}" for path, _ in _flatten(merged)}
    layers = [
        *(
            (path, value, f"environment {name}")
            for name, path, value in _from(environ or {}, merged)
        ),
        *((path, value, "flag") for path, value in (flags or {}).items() if value is not None),
    ]
    if any(path.startswith("models.") for path, _, _ in layers):
        merged.setdefault("models", Config().model_dump()["models"])
    for path, value, origin in layers:
        _put(merged, path, value)
        origins[path] = origin
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise _readable(error, origins, file) from None
    return Loaded(config, origins)


def checked_text(text: str, file: Path) -> Config:
    """What a lab.toml with this text would say, before it is written.

    Args:
        file: what it would be.

    Raises:
        ConfigError: names the path of every value that is wrong.
    """
    try:
        return Config.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise _readable(error, {}, file) from None


def unknown_variables(environ: Mapping[str, str], config: Config) -> list[str]:
    """LLMLAB_* variables that set nothing, probably misspelt."""
    known = set(_variables(config.model_dump())) | set(ALIASES) | OTHER_VARIABLES
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"there is no {file}", fix="llmlab init .") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", fix=f"ls -l {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file} is not valid TOML: {unreadable(error)}", fix=f"save {file} as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:  # says where, and what kind of thing stands there
        raise ConfigError(f"{file} is not valid TOML: {error}", fix=f"correct {file}") from None


def _from(environ: Mapping[str, str], raw: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    variables = _variables(raw)
    # The short names come last: where both are set, they win whatever the order in `environ`.
    for name, path in (*variables.items(), *ALIASES.items()):
        if value := environ.get(name):
            yield name, path, _parsed(path, value, name)


def _variables(raw: Mapping[str, Any]) -> dict[str, str]:
    """Environment variable -> path, for every leaf that the schema has."""
    models = raw.get("models")
    names = list(models) if isinstance(models, dict) else list(Config().models)
    paths = [path for path in _schema_paths(Config) if not path.startswith("models")]
    paths += [f"models.{name}.{path}" for name in names for path in _schema_paths(Model)]
    return {variable(path): path for path in paths}


def variable(path: str) -> str:
    """The environment variable that sets what is at this path."""
    return PREFIX + path.upper().replace(".", "_").replace("-", "_")


def _schema_paths(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _schema_paths(inner, f"{prefix}{name}.")
        elif item_of(inner) is None:  # a list of tables is nothing for one variable
            yield prefix + name


def _parsed(path: str, text: str, variable: str) -> Any:
    """A variable's text as the type that the schema wants at this path."""
    section: type[BaseModel] = Config
    *parents, leaf = path.split(".")
    if parents[:1] == ["models"]:
        section, parents = Model, parents[2:]
    for parent in parents:
        section = section.model_fields[parent].annotation  # type: ignore[assignment]
    field = section.model_fields[leaf]
    annotation: Any = field.annotation
    try:
        if get_origin(annotation) is list:
            item = TypeAdapter(*get_args(annotation))
            parts = (part.strip() for part in text.split(","))
            return [item.validate_strings(part) for part in parts if part]
        return TypeAdapter(annotation).validate_strings(text)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(
            f"{path}: {message}, not {text!r} (from environment {variable})",
            fix=f"set {variable} to a valid value, or unset it",
        ) from None


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            return  # a scalar stands where a table must be: the validation says so
    tree[leaf] = value


def _readable(error: ValidationError, origins: Mapping[str, str], file: Path) -> ConfigError:
    lines, fixes = [], []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if not path and ": " in message:  # of several sections together, which says itself where
            path, message = message.split(": ", 1)
        if problem["type"] == "extra_forbidden":
            message = GONE.get(path) or "unknown key" + _nearest(path)
        elif problem["type"] == "missing":
            message = "is missing"
        elif not isinstance(problem["input"], dict):
            message += f", not {problem['input']!r}"
        origin = _origin(path, origins)
        lines.append(f"{path}: {message}" + (f" (from {origin})" if origin else ""))
        fixes.append(_fix(path, origin, file))
    return ConfigError("\n".join(lines), fix="; ".join(dict.fromkeys(fixes)))


def _origin(path: str, origins: Mapping[str, str]) -> str | None:
    """Where a value came from; an item of a list, and what is in it, came with its list."""
    while path not in origins and path:
        path = path.rpartition(".")[0]
    return origins.get(path)


def _fix(path: str, origin: str | None, file: Path) -> str:
    kind, _, name = (origin or "").partition(" ")
    if kind == "environment":
        return f"correct {name}, or unset it"
    if kind == "flag":
        return f"correct the option that sets {path}"
    return f"correct {file}"


def _item_at(parents: list[str]) -> type[BaseModel] | None:
    """What one of a list of tables holds, by the path of one: auth, issuers, 0."""
    section: Any = Config
    for name in parents:
        if (item := item_of(section)) is not None:
            return item
        fields = getattr(section, "model_fields", {})
        section = fields[name].annotation if name in fields else None
    return None


def _nearest(path: str) -> str:
    *parents, leaf = path.split(".")
    place = ".".join(parents)
    if place.startswith("models."):
        siblings = list(Model.model_fields)
    elif item := _item_at(parents):
        siblings = list(item.model_fields)
    else:
        known = [name for name in _schema_paths(Config) if name.startswith(place)]
        siblings = [name.removeprefix(f"{place}.").split(".")[0] for name in known]
    return hint(leaf, siblings)
