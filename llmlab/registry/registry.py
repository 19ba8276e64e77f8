"""What one does with registered models: add, name, judge, verify and remove them."""

from __future__ import annotations

import os
import pwd
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.models import store
from llmlab.models.identity import digests
from llmlab.registry import lookup, rows
from llmlab.registry.checking import Verdict, check
from llmlab.registry.contents import copy_gguf, copy_in, kept_files, refuse_incomplete
from llmlab.registry.record import PUBLISHED, Facts, Move, Record, canonical
from llmlab.registry.records import Records
from llmlab.registry.reference import checked_name
from llmlab.runtimes.prompt import Prompt

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Added:
    """A record, and whether it is new: the same facts of the same content are one record."""

    record: Record
    new: bool


class Registry(Records):
    """The registry of one lab. It is there once something is registered.

    Every method is one transaction, and may be called by any number of processes at once.
    """

    # --- bringing models in ------------------------------------------------------

    def add(self, folder: Path, name: str, facts: Facts, *, say: Say = silent) -> Added:
        """Copy a model into the registry, and record it as the next version of that name.

        Of a converted one, what it was converted to counts, whatever ``facts`` says.

        Args:
            folder: laid out like a hub snapshot, or converted by llmlab; it is left alone. Of a
                language model, its file, or the folder of which ``facts.file`` says which.

        Raises:
            UsageError: the name cannot be one, or the folder is no model.
            EnvironmentFailure: the disk is full, or a file cannot be read.
        """
        if facts.chats:
            own = replace(facts, file="")
            return self.admit(name, own, lambda staged: copy_gguf(folder, facts.file, staged))
        return self.admit(name, facts, lambda staged: copy_in(folder, staged, say))

    def add_version(self, parent: Record, name: str, facts: Facts) -> Added:
        """Record a version that shares the files of another, and differs in what is said to it.

        Raises:
            UsageError: the files of the other one are damaged or gone, or the name cannot be one.
        """
        facts = self._checked(name, facts)
        with self.contents.writing():
            if parent.owned and (problem := self.contents.damage(parent.digits, parent.files)):
                raise UsageError(f"{parent.reference}: {problem}", fix="llmlab models verify")
            made = Record(facts.id_of(parent.files), name, 0, _now(), facts, parent.files,
                          parent.bytes)  # fmt: skip
            return self._enter(made)

    def admit(
        self,
        name: str,
        facts: Facts,
        fill: Callable[[Path], None],
        *,
        expected: str = "",
        created: str = "",
        evaluations: Iterable[Mapping[str, Any]] = (),
    ) -> Added:
        """As ``add``, with files that ``fill`` writes into a folder which nobody sees yet.

        Args:
            expected: the content id that has to come out of it.
            created: when the model was registered elsewhere.
            evaluations: of it, from elsewhere.
        """
        facts = self._checked(name, facts)
        with self.contents.writing():
            self._collect()
            with self.contents.staging() as staged:
                try:
                    fill(staged)
                    refuse_incomplete(staged, language=facts.chats)
                    there = kept_files(staged)
                    files, size = digests(there), sum(one.stat().st_size for one in there)
                    facts = self._as_converted(name, facts, staged)
                    model_id = facts.id_of(files)
                    record = Record(model_id, name, 0, created or _now(), facts, files, size)
                    if expected and record.id != expected:
                        raise UsageError(f"its content is {record.id}, and not {expected}")
                    self.contents.install(staged, record.digits)
                except OSError as error:
                    raise EnvironmentFailure(
                        f"{error.filename or self.contents.models}: {error.strerror}"
                    ) from error
            return self._enter(record, evaluations)

    def add_hub(self, name: str, facts: Facts, files: Mapping[str, str] | None = None) -> Added:
        """Record a model whose files stay in the hub library's cache, or in the store if it is out
        of a Python package; ``facts.base`` says which.

        Args:
            files: the ``digests`` of a language model's weights; none for another model.

        Raises:
            UsageError: the name cannot be one.
        """
        facts = self._checked(name, facts)
        assert facts.source in PUBLISHED and facts.base
        files = files or {}
        model_id = facts.id_of(files) if facts.chats else facts.base.id
        with self.contents.writing():
            return self._enter(Record(model_id, name, 0, _now(), facts, files, 0))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.contents.make_folders()
        with self.database.writing() as connection:
            yield connection

    def _checked(self, name: str, facts: Facts) -> Facts:
        """Facts as they will be read again, if a model of this name can be served by them."""
        checked_name(name)
        try:
            facts = Facts.parse(facts.dump())
            facts.model("path:x", "")
            if facts.chats:
                Prompt.parse(facts.prompt, f"the prompt of {name}")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{name} cannot be registered: {where} {first['msg']}") from None
        with self.database.reading() as connection:
            self._refuse_alias(connection, name)
        return facts

    def _as_converted(self, name: str, facts: Facts, folder: Path) -> Facts:
        if facts.chats or not store.is_converted(folder):
            return facts
        compute_type: Any = store.Manifest.read(folder).compute_type
        return self._checked(name, replace(facts, runtime="ctranslate2", compute_type=compute_type))

    def _refuse_alias(self, connection: sqlite3.Connection, name: str) -> None:
        if rows.aliased(connection, name):
            raise UsageError(f"{name} is an alias, and would hide the model", fix="choose another")

    def _enter(self, record: Record, evaluations: Iterable[Mapping[str, Any]] = ()) -> Added:
        """Write the row of a model whose files are there. Call it while ``writing`` contents."""
        with self._writing() as connection:
            self._refuse_alias(connection, record.name)
            for one in rows.live(connection, "name = ? AND id = ?", (record.name, record.id)):
                if one.facts.dump() == record.facts.dump():
                    self._judge(connection, one, evaluations)
                    return Added(lookup.get(connection, one.reference), new=False)
            record = replace(record, version=rows.next_version(connection, record.name))
            rows.insert(connection, record, canonical(dict(record.files)))
            self._judge(connection, record, evaluations)
            return Added(lookup.get(connection, record.reference), new=True)

    def _collect(self) -> None:
        """Remove what processes that were killed have left.

        Raises:
            EnvironmentFailure: the database is gone, so that every model looks like that.
        """
        if self.contents.installed() and not self.database.file.exists():
            raise EnvironmentFailure(
                f"{self.database.file} is gone, but {self.contents.models} holds models",
                fix="restore it; or move that folder away and add its models again",
            )
        # It is there before the first model is, and so its absence says something.
        with self._writing() as connection:
            keep = {one.digits for one in rows.live(connection) if one.owned}
        self.contents.collect(keep)

    # --- aliases ---------------------------------------------------------------------

    def tag(self, reference: str, alias: str, why: str = "") -> Move | None:
        """Point an alias to a model. Returns the move; None if it points there already.

        Raises:
            UsageError: there is no such model, or the alias is a model's name.
        """
        checked_name(alias)
        with self._writing() as connection:
            record = lookup.get(connection, reference)
            if rows.live(connection, "name = ?", (alias,)):
                raise UsageError(f"{alias} is a model's name, and no alias can hide it")
            before = rows.aliased(connection, alias)
            if before and before.reference == record.reference:
                return None
            return rows.move(connection, alias, record, at=_now(), who=_who(), why=why)

    def untag(self, alias: str, why: str = "") -> Move:
        """Take an alias away; its history stays.

        Raises:
            UsageError: there is none of that name.
        """
        with self._writing() as connection:
            if rows.aliased(connection, alias) is None:
                there = ", ".join(rows.aliases(connection)) or "none"
                raise UsageError(f"there is no alias {alias!r}; there are: {there}")
            return rows.move(connection, alias, None, at=_now(), who=_who(), why=why)

    # --- judging, verifying, removing ------------------------------------------------

    def append_evaluation(self, reference: str, document: Mapping[str, Any]) -> Record:
        """Note the result of an evaluation with a model, for ever. It is one of its content, so
        every record of that content has it.

        Args:
            document: JSON without NaN; one that is there already is not noted twice.

        Returns:
            The record, with this evaluation last.

        Raises:
            UsageError: there is no such model.
        """
        with self._writing() as connection:
            record = lookup.get(connection, reference)
            self._judge(connection, record, [document])
            return lookup.get(connection, reference)

    def _judge(
        self, connection: sqlite3.Connection, record: Record, documents: Iterable[Mapping[str, Any]]
    ) -> None:
        connection.executemany(
            "INSERT INTO evaluations (id, at, document) VALUES (?, ?, ?)"
            " ON CONFLICT (id, document) DO NOTHING",
            [(record.id, _now(), canonical(one)) for one in documents],
        )

    def verify(self, record: Record) -> Verdict:
        """Read every byte of a model, and of its converted form in the store."""
        return check(record, self.contents)

    def remove(self, reference: str, *, in_use: str = "", force: bool = False) -> Record:
        """Remove a model, then its files. What is recorded of it stays, for the history.

        Args:
            in_use: who uses it, apart from aliases; a reason to refuse.
            force: do it in spite of that, and take away the aliases that point to it.

        Raises:
            UsageError: there is no such model, or it is in use.
        """
        with self._writing() as connection:
            record = lookup.get(connection, reference)
            pointing = [
                alias for alias, to in rows.aliases(connection).items() if to == record.reference
            ]
            users = [*(f"the alias {one}" for one in pointing), *([in_use] if in_use else [])]
            if users and not force:
                raise UsageError(
                    f"{record.reference} is in use by {' and '.join(users)}",
                    fix="llmlab models tag moves an alias; --force removes it all the same",
                )
            at = _now()
            for alias in pointing:
                why = f"{record.reference} was removed"
                rows.move(connection, alias, None, at=at, who=_who(), why=why)
            rows.mark_removed(connection, record, at)
        with self.contents.writing():
            self._collect()
        return replace(record, removed=at)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _who() -> str:
    """The user of this process, as the system knows it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"
