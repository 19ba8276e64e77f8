"""The files of an export: texts by their path, and a folder that they are put into."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import yaml

from llmlab.errors import UsageError
from llmlab.export.pods import Manifest
from llmlab.files import write_atomically
from llmlab.lab import private_folder, refuse_foreign
from llmlab.version import __version__

MARK = ".llmlab-export.json"  # which files of a folder are ours, to be replaced by the next export
SECRETS = "secrets"  # the folder that others may not look into
OPEN, SECRET = (0o755, 0o644), (0o700, 0o600)
HEADER = (
    "# Written by llmlab export kubernetes: schema-checked, not run. Edits here are lost with the\n"
    "# next export; patch it in an overlay.\n"
)


def in_yaml(*manifests: Manifest) -> str:
    """Documents as kubectl reads them. Keys stand as they were written: what a thing is before
    what it is like."""
    return HEADER + "---\n".join(
        yaml.dump(one, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
        for one in manifests
    )


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True  # the same labels twice are no reference


def write(folder: Path, files: Mapping[str, str], *, force: bool) -> list[str]:
    """Put them there.

    Args:
        files: by path, relative to the folder.
        force: the files of an export from before go.

    Returns:
        The paths, sorted.

    Raises:
        UsageError: something is there that is not ours to replace.
        EnvironmentFailure: another user owns the folder.
    """
    before = _ours(folder)
    if before is None:
        raise UsageError(
            f"{folder} holds something else than an export",
            fix="--out names a folder that is not there yet, or empty",
        )
    if before and not force:
        raise UsageError(f"{folder} holds an export already", fix="--force replaces it")
    refuse_foreign(folder)
    names = sorted([*files, MARK])
    if led := _links(folder, {*before, *names}):
        raise UsageError(
            f"{folder} holds links in the place of folders, and what lies behind them is no "
            f"export's: {', '.join(led)}",
            fix=f"rm {' '.join(str(folder / one) for one in led)}",
        )
    taken = [name for name in names if name not in before and (folder / name).exists()]
    if taken:
        raise UsageError(
            f"{folder} holds {', '.join(taken)}, which no export has written",
            fix="move it away, or choose another --out",
        )
    if not folder.exists():
        private_folder(folder, OPEN[0])
    # All that is or will be ours, first of all: whatever ends this, the next one may go on from it.
    _mark(folder, {*before, *names})
    for name, text in files.items():
        of_folder, of_file = SECRET if PurePosixPath(name).parts[0] == SECRETS else OPEN
        if (place := (folder / name).parent) != folder:
            private_folder(place, of_folder)
        write_atomically(folder / name, text, of_file)
    gone = {name for name in before if name not in names and (folder / name).is_file()}
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    _remove_empty(folder, {(folder / name).parent for name in gone})
    _mark(folder, names)
    return names


def _mark(folder: Path, names: Iterable[str]) -> None:
    told = {"llmlab": __version__, "files": sorted(names)}
    write_atomically(folder / MARK, json.dumps(told, indent=1) + "\n", OPEN[1])


def _ours(folder: Path) -> list[str] | None:
    """The files that an export has written there; None where somebody else has."""
    try:
        told = json.loads((folder / MARK).read_text(encoding="utf-8"))
        names = [str(one) for one in told["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        return [] if empty else None
    # It is a file that anybody may have edited: nothing outside goes by it.
    paths = [PurePosixPath(one) for one in names]
    return [str(one) for one in paths if not one.is_absolute() and ".." not in one.parts]


def _links(folder: Path, names: Iterable[str]) -> list[str]:
    """The links below a folder that these names would lead through."""
    places = {str(place) for name in names for place in PurePosixPath(name).parents} - {"."}
    return sorted(one for one in places if (folder / one).is_symlink())


def _remove_empty(folder: Path, places: Iterable[Path]) -> None:
    for place in sorted(places, key=lambda one: -len(one.parts)):
        while place != folder and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
            place = place.parent
