"""The first page: what runs, and which way requests go."""

from __future__ import annotations

from llmlab.console.desk import Desk
from llmlab.console.pages import Page, Query
from llmlab.console.visitor import Visitor
from llmlab.engines.base import LabStatus


def gather(desk: Desk, query: Query, visitor: Visitor) -> LabStatus:
    del query, visitor
    return desk.engine.status()


PAGES = (Page("overview", "Overview", "overview.html.j2", gather, live=True),)
