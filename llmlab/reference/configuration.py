"""configuration.md, and configs/lab.toml itself: both from the schema of the configuration."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llmlab.config.load import ALIASES, variable
from llmlab.config.model import ONLY, Model
from llmlab.config.scale import Scale
from llmlab.config.schema import TAKEN_OVER_BY, Config
from llmlab.config.section import item_of
from llmlab.reference.markdown import code, page, table, text

INTRODUCTION = """`configs/lab.toml` holds every key with its default and what it is for. A flag
beats an environment variable, which beats the file, which beats the default. `llmlab config show
--origin` says where each value came from, and what the running lab has instead. Unknown keys and
wrong types are errors, which name the path of the value and where it came from.

The environment variable of a key is `LLMLAB_` and its path in capitals, with an underscore for each
dot and hyphen: `{path}` is `{variable}`. {shorter}

A change is taken over by `llmlab up`, which changes a running lab without losing requests, unless
a key says otherwise."""
SAMPLE = "gateway.rate_limit.rate"
MODELS = """`NAME` is what clients call the model: lower-case letters, digits and hyphens."""
SCALE = "They are told in the guide's page on [replicas](../guide/scaling.md)."
# Of lists of tables, what the reference says beside what each is.
SAID_OF_LISTS = {
    "auth.issuers": "There may be several, each with a table of its own; as the lab comes there is "
    "none. The guide's page on [identity providers](../guide/identity.md) shows them for Keycloak, "
    "Entra, Okta, Auth0 and Google.",
    "budgets": "One table each, as many as there are. No environment variable sets one.",
}
# Keys of a model that are shown in lab.toml only where they say something.
FURTHER = ("cores", "gpus", "memory", "price", "scale", "fallback", "ca_file", "headers", "key_env",
           "file", "revision")  # fmt: skip
COLUMN = 26  # at which the comments of lab.toml begin
WIDTH = 100

HEAD = """\
# The lab. Every key, its default, and what it is for.
#
# A flag beats an environment variable, which beats this file, which beats the
# default: `llmlab up --port 9000` > LLMLAB_GATEWAY_PORT > gateway.port below.
# `llmlab config show --origin` says where each value came from.
"""
# What lab.toml says above the keys of one.
ABOUT_ISSUERS = """\
# --- Identity providers --------------------------------------------------------
# Whose tokens are valid beside the lab's own, each in a table [[auth.issuers]]:
#
# [[auth.issuers]]
# name = "corp"
# issuer = "https://login.example.com/realms/staff"
# audience = "llmlab"
#
"""
ABOUT_BUDGETS = """\
# --- Budgets -----------------------------------------------------------------
# What a subject, or all who share a claim, may use in a while: one table [[budgets]] each. Several
# may hold for a request; the first one that it does not fit refuses it. There is none by default.
#
#   [[budgets]]
#   tokens_per_day = 200_000
#
"""
ABOUT_GUARDS = """\
# --- Guards ------------------------------------------------------------------
# What looks at texts before a model is asked and before its answer leaves, one table each. There is
# none by default.
#
#   [[guards]]
#   kind = "secrets"
#
"""
ABOUT_LISTS = {
    "auth.issuers": ABOUT_ISSUERS, "budgets": ABOUT_BUDGETS, "guards": ABOUT_GUARDS,
}  # fmt: skip
ABOUT_MODELS = """\
# --- Models ------------------------------------------------------------------
# Above, a registered model may be named as well, as `llmlab models list` shows it: its name
# (the newest version), NAME:VERSION, an alias, or sha256:DIGITS.
#
"""


@dataclass(frozen=True)
class Key:
    """A key of the configuration."""

    path: str
    field: FieldInfo

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def section(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def description(self) -> str:
        return self.field.description or ""

    @property
    def default(self) -> str:
        """As TOML writes it; "" if there is none."""
        without = self.field.is_required() or self.field.default is None
        return "" if without else toml(self.field.default)

    @property
    def type(self) -> str:
        annotation = self.field.annotation
        if get_origin(annotation) is Literal:
            return " or ".join(code(toml(one)) for one in get_args(annotation))
        if get_origin(annotation) is list:
            item = get_args(annotation)[0]
            if get_origin(item) is Literal:
                return "list of " + " and ".join(code(toml(one)) for one in get_args(item))
            bounds = _bounds(getattr(item, "__metadata__", ()), "each")
            return ", ".join(["list of " + _plain(item, plural=True), *bounds])
        if get_origin(annotation) is dict:
            if (kinds := get_args(annotation)[1]) is not str:
                return "table of what the kind takes"
            return f"table of {_plain(kinds, plural=True)}"
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return f"table of {', '.join(code(name) for name in annotation.model_fields)}"
        return ", ".join([_plain(annotation), *_bounds(self.field.metadata)])


def lab_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[Key]:
    """Every key but those of models and of identity providers, in the schema's order."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from lab_keys(inner, f"{prefix}{name}.")
        elif name != "models" and item_of(inner) is None:
            yield Key(prefix + name, field)


def model_keys() -> list[Key]:
    return [Key(f"models.NAME.{name}", field) for name, field in Model.model_fields.items()]


def lists_of_tables(
    section: type[BaseModel] = Config, prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """(path, what one of them holds), of [[guards]] and the like."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if (item := item_of(inner)) is not None:
            yield prefix + name, item
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from lists_of_tables(inner, f"{prefix}{name}.")


def keys_of(path: str, item: type[BaseModel]) -> list[Key]:
    return [Key(f"{path}.{name}", field) for name, field in item.model_fields.items()]


def sections(
    section: type[BaseModel] = Config, path: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, section
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from sections(inner, f"{path}.{name}".strip("."))


def toml(value: Any) -> str:
    """JSON's way to write a string, a list and a truth value is TOML's too."""
    if isinstance(value, list):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {toml(one)}" for name, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(value, ensure_ascii=False)


def _plain(annotation: Any, *, plural: bool = False) -> str:
    bare = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    if get_origin(bare) in (Union, UnionType):
        kinds = [_plain(one, plural=plural) for one in get_args(bare) if one is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if get_origin(bare) is list:
        return f"list of {_plain(get_args(bare)[0], plural=True)}"
    if get_origin(bare) is Literal:
        bare = type(get_args(bare)[0])
    named = {str: "string", int: "integer", float: "number", bool: "truth value"}
    return named[bare] + ("s" if plural else "")


def _bounds(metadata: Any, whose: str = "") -> list[str]:
    said = []
    for one in metadata:
        for of_pydantic in getattr(one, "metadata", [one]):
            for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
                bound = getattr(of_pydantic, name, None)
                if bound is not None:
                    said.append(f"{whose} {sign} {bound:,}".strip())
    return said


# --- the page --------------------------------------------------------------------------


def markdown() -> str:
    known = list(lab_keys())
    parts = []
    for path, section in sections():
        own = [one for one in known if one.section == path]
        said = text(" ".join((section.__doc__ or "").split())) if path else ""
        said += f" A change needs {how}." if (how := TAKEN_OVER_BY.get(f"{path}.")) else ""
        parts += [f"## {f'[{path}]' if path else 'At the top of the file'}", said, _table(own)]
    for path, item in lists_of_tables():
        said = text(" ".join((item.__doc__ or "").split()))
        more = [SAID_OF_LISTS[path]] if path in SAID_OF_LISTS else []
        parts += [f"## [[{path}]]", said, *more, _table(keys_of(path, item))]
    parts += ["## [models.NAME]", text(Model.__doc__ or ""), MODELS, _table(model_keys())]
    of_scale = keys_of("models.NAME.scale", Scale)
    parts += ["## [models.NAME.scale]", text(Scale.__doc__ or ""), SCALE, _table(of_scale)]
    return page("Configuration", _introduction(), *parts)


def _introduction() -> str:
    shorter = (f"{code(short)} is short for {code(variable(path))}."
               for short, path in ALIASES.items())  # fmt: skip
    return INTRODUCTION.format(path=SAMPLE, variable=variable(SAMPLE), shorter=" ".join(shorter))


def _table(known: list[Key]) -> str:
    rows = []
    for one in known:
        how = f" A change needs {how}." if (how := TAKEN_OVER_BY.get(one.path)) else ""
        rows.append(
            (
                code(one.name),
                one.type,
                code(one.default) or ("required" if one.field.is_required() else ""),
                text(one.description) + how,
            )
        )
    return table(("key", "type", "default", "what it is for"), rows)


# --- lab.toml --------------------------------------------------------------------------


def lab_toml() -> str:
    """configs/lab.toml as it is laid out: the defaults, each with what it is for."""
    known = list(lab_keys())
    parts = [HEAD]
    for path, section in sections():
        head = _with_comment(f"[{path}]", section.__doc__ or "") if path else []
        lines = [line for one in known if one.section == path for line in _line(one)]
        parts.append("\n".join([*head, *lines]) + "\n")
    parts += [ABOUT_LISTS[path] + _about(keys_of(path, item)) for path, item in lists_of_tables()]
    parts.append(ABOUT_MODELS + _about(model_keys()))
    defaults = Config()
    parts += [_model(name, model) for name, model in defaults.models.items()]
    return "\n".join(parts)


def _line(key: Key) -> list[str]:
    return _with_comment(f"{key.name} = {key.default}", key.description)


def _with_comment(setting: str, said: str) -> list[str]:
    said = " ".join(said.split()).removesuffix(".")
    if len(setting) > WIDTH - COLUMN - 20:  # then it stands above
        return [*_wrapped(said, "# ", "# "), setting]
    column = max(COLUMN, len(setting) + 2)
    lines = _wrapped(said, f"{setting:{column}}# ", " " * COLUMN + "# ")
    return lines or [setting]


def _wrapped(said: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        said, WIDTH, initial_indent=first, subsequent_indent=later,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _about(known: list[Key]) -> str:
    lines, column = [], max(16, *(len(one.name) + 2 for one in known))
    for one in known:
        begin = f"# {one.name:{column}}"
        lines += _wrapped(one.description.removesuffix("."), begin, f"# {'':{column}}")
    return "\n".join(lines) + "\n"


def _model(name: str, model: Model) -> str:
    """Its table, with what says which model it is, and what one may want to change."""
    shown = [
        one for one in Model.model_fields
        if model.runtime in ONLY.get(one, (model.runtime,))
        and (one not in FURTHER or one in model.model_fields_set)
        and not (one == "license" and model.runtime == "extractive")
    ]  # fmt: skip
    values = [f"{one} = {toml(getattr(model, one))}" for one in shown]
    return "\n".join([f"[models.{name}]", *values]) + "\n"
