"""Documents of `-o json` of the verbs that teach; see ``llmlab.cli.documents``."""

from __future__ import annotations

from typing import TypedDict


class CourseObjective(TypedDict):
    """How far a lab is with an objective of the course.

    Args:
        passed: checks, of so many.
    """

    number: int
    done: bool
    passed: int
    of: int


class CourseEntry(CourseObjective):
    title: str


class CourseTitle(TypedDict):
    title: str


class CoursePage(TypedDict):
    """An objective of the course; its sections are Markdown.

    Args:
        see: what one should see.
        check: how one sees that it is done.
    """

    number: int
    title: str
    goal: str
    steps: str
    see: str
    question: str
    check: str


class ClassFolder(TypedDict):
    """Args:
    dir: the class's folder.
    """

    dir: str


class ClassMemory(TypedDict):
    """Args:
    memory: bytes that its labs take with the embedded model, estimated.
    """

    memory: int


class ClassLab(TypedDict):
    """Args:
    problem: why it is not done; "" for nothing.
    """

    name: str
    done: bool
    problem: str


class ClassLabStatus(TypedDict):
    name: str
    url: str
    running: bool
    healthy: bool
    objectives: list[CourseObjective]


class ClassStatus(TypedDict):
    dir: str
    labs: list[ClassLabStatus]
