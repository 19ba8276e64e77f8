"""What the sections of lab.toml have in common."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
# Strict, yet TOML's 5 is as good as its 5.0.
Percent = Annotated[float, Field(gt=0, le=100)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def item_of(annotation: Any) -> type[BaseModel] | None:
    """What one table of a list of tables, such as [[guards]], holds; None for any other type."""
    if get_origin(annotation) is not list:
        return None
    (item,) = get_args(annotation)
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None
