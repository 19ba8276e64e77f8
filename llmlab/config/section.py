"""What the sections of lab.toml have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
# Strict, yet TOML's 5 is as good as its 5.0.
Percent = Annotated[float, Field(gt=0, le=100)]


def checked_size(said: str) -> str:
    """Of memory, as Docker takes it. Raises ValueError: it is none."""
    if not re.fullmatch(r"[1-9]\d{0,5}[mg]", said):
        raise ValueError('should look like "512m" or "2g"')
    return said


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def item_of(annotation: Any) -> type[BaseModel] | None:
    """What one table of a list of tables, such as [[guards]], holds; None for any other type."""
    if get_origin(annotation) is not list:
        return None
    (item,) = get_args(annotation)
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None
