"""A model hub, through its own library: what is in its cache, and how it gets there.

Hub models live in the hub library's own cache (HF_HOME), so a model that is
already on this machine is not downloaded again. HF_ENDPOINT and HF_HUB_OFFLINE
mean what they mean there.
"""

from __future__ import annotations

import glob
import json
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llmlab.errors import ModelUnavailable
from llmlab.models import gguf
from llmlab.models.download import fetch_large_files
from llmlab.models.identity import MODEL_FILES, damaged_files
from llmlab.network import is_loopback, without_login

REACH_DEADLINE = 10.0  # seconds
# The hub's patterns match across folders: a copy of the weights in another format would come too.
TOP_LEVEL: Any = {"allow_patterns": list(MODEL_FILES), "ignore_patterns": ["*/*"]}


def incomplete(folder: Path) -> str:
    """What a folder lacks to be a model laid out like a hub snapshot; "" if nothing."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if not (folder / "config.json").is_file():
        return f"{folder} has no config.json"
    if not any(file.is_file() for file in folder.glob("*.safetensors")):
        return f"{folder} has no *.safetensors (other weight formats can run code and are refused)"
    if not any((folder / tokenizer).is_file() for tokenizer in ("tokenizer.json", "spiece.model")):
        return f"{folder} has no tokenizer.json"
    return _not_of(folder)


def _not_of(folder: Path) -> str:
    """What weights an index names that are not in the folder: transformers would load them from
    wherever that is, and no content id would cover them. "" if all are there."""
    there = {file.name for file in folder.glob("*.safetensors") if file.is_file()}
    for index in sorted(folder.glob("*.safetensors.index.json")):
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{index} is no index of weights"
        if missing := sorted(named - there, key=str):
            return f"{folder} has no {missing[0]}, which its {index.name} names"
    return ""


def only(name: str) -> Any:
    """As ``TOP_LEVEL``, for one file of a repository."""
    return {"allow_patterns": [glob.escape(name)], "ignore_patterns": ["*/*"]}


def cached(repository: str, revision: str) -> Path | None:
    """The snapshot of a commit in the cache, if it is there; it may be incomplete."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(repository, revision=revision, local_files_only=True, **TOP_LEVEL)
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def intact(repository: str, revision: str) -> Path | None:
    """The snapshot in the cache, if it is complete and every file is what the hub announced."""
    there = cached(repository, revision)
    if there is None or incomplete(there) or any(damaged_files(there)):
        return None
    return there


def download(name: str, repository: str, revision: str, say: Callable[[str], None]) -> Path:
    """Complete the snapshot of a commit in the cache, and verify every file of it.

    Raises:
        ModelUnavailable: not reachable within 10 s, refused, incomplete, or damaged.
    """
    if _is_offline():
        folder = cached(repository, revision)
        if folder is None or incomplete(folder):
            raise _not_to_be_fetched(name, repository)
    else:
        _reach(name, repository, revision)
        _announce(name, repository, revision, say)
        folder = _fetch(name, repository, revision, TOP_LEVEL)
        if problem := incomplete(folder):
            raise ModelUnavailable(f"{repository} is not complete: {problem}")
    _verify(name, damaged_files(folder))
    return folder


def cached_gguf(repository: str, revision: str, pattern: str) -> Path | None:
    """The language model of a commit in the cache, if it is there, whole as far as its head says.

    Args:
        pattern: which of several GGUF files; "" for the only one.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    # Not by the library, to which a snapshot without the other files is none.
    cache = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"))
    folder = cache / "snapshots" / revision
    there = [one.name for one in folder.glob(gguf.PATTERN) if one.is_file()]
    name, _ = gguf.chosen(there, pattern, repository)
    return folder / name if name and not gguf.problem(folder / name) else None


def download_gguf(
    name: str, repository: str, revision: str, pattern: str, say: Callable[[str], None]
) -> Path:
    """Have one GGUF file of a commit in the cache, verified, and no other one of it.

    Args:
        pattern: which of several files at the top of the repository; "" for the only one.

    Raises:
        ModelUnavailable: not reachable within 10 s, refused, damaged, or none that is meant.
    """
    if _is_offline():
        file = cached_gguf(repository, revision, pattern)
        if file is None:
            raise _not_to_be_fetched(name, repository)
    else:
        _reach(name, repository, revision)
        wanted, problem = gguf.chosen(_names(name, repository, revision), pattern, repository)
        if problem:
            raise ModelUnavailable(f"{name}: {problem}", fix=f"correct models.{name}.file")
        _announce(name, f"{wanted} of {repository}", revision, say)
        file = _fetch(name, repository, revision, only(wanted)) / wanted
    _verify(name, damaged_files(file.parent, [file]))
    if problem := gguf.problem(file):
        raise ModelUnavailable(f"{name}: {problem}", fix=f"correct models.{name}.file")
    return file


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _not_to_be_fetched(name: str, repository: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{repository} is not on disk, and HF_HUB_OFFLINE forbids to fetch it",
        fix=f"HF_HUB_OFFLINE=0 llmlab models pull {name}",
    )


def _announce(name: str, what: str, revision: str, say: Callable[[str], None]) -> None:
    from huggingface_hub import constants

    say(f"{name}: {what} at {revision[:12]} from {without_login(constants.ENDPOINT)}")


def _names(name: str, repository: str, revision: str) -> list[str]:
    """Of the files at the top of a repository."""
    from huggingface_hub import HfApi

    try:
        found = HfApi(token=_hub_token()).list_repo_tree(repository, revision=revision)
        return [one.path for one in found]
    except Exception as error:
        raise _broke_off(name, repository, error) from error


def _fetch(name: str, repository: str, revision: str, wanted: Any) -> Path:
    """Complete the wanted files of a commit in the cache. Returns the snapshot's folder."""
    from huggingface_hub import snapshot_download

    token = _hub_token()
    try:
        fetch_large_files(repository, revision, patterns=wanted["allow_patterns"], token=token)
        return Path(snapshot_download(repository, revision=revision, token=token, **wanted))
    except Exception as error:
        raise _broke_off(name, repository, error) from error


def _broke_off(name: str, repository: str, error: Exception) -> ModelUnavailable:
    return ModelUnavailable(
        f"the download of {repository} broke off: {_one_line(error)}",
        fix=f"llmlab models pull {name} takes it up where it stopped",
    )


def _reach(name: str, repository: str, revision: str) -> None:
    """Ask the hub for the revision, with one deadline over look-up, connect and answer."""
    from huggingface_hub import HfApi, constants

    outcome: list[Any] = []

    def ask() -> None:
        try:
            HfApi(token=_hub_token()).model_info(
                repository, revision=revision, timeout=REACH_DEADLINE
            )
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(REACH_DEADLINE)
    problem = outcome[0] if outcome else TimeoutError(f"no answer within {REACH_DEADLINE:.0f} s")
    if problem is None:
        return
    why, fix = _explained(problem, name)
    endpoint = without_login(constants.ENDPOINT)
    raise ModelUnavailable(
        f"{repository} is not on disk and {endpoint} cannot give it: {why}", fix=fix
    )


def _explained(problem: Exception, name: str) -> tuple[str, str]:
    """What a hub's refusal means, and the way on."""
    from huggingface_hub import errors

    status = getattr(getattr(problem, "response", None), "status_code", None)
    sign_in = f"HF_TOKEN=... llmlab models pull {name}, with a token of an account that has access"
    match problem:
        case errors.GatedRepoError():
            return "the repository is gated: its owner has to let you in", sign_in
        case errors.RepositoryNotFoundError() if status == 401:
            return "there is no such repository, or it is private", sign_in
        case errors.RepositoryNotFoundError():
            return "there is no such repository", f"correct models.{name}.source"
        case errors.RevisionNotFoundError():
            return "it has no such revision", f"correct models.{name}.revision"
    return _one_line(problem), (
        "try again where the hub can be reached, or give its files: llmlab models add FOLDER "
        f"--name NAME; without {name}: llmlab up --model textrank"
    )


def _hub_token() -> bool | None:
    """None: the user's token if there is one. False: none, for it would travel unencrypted."""
    from huggingface_hub import constants

    encrypted = constants.ENDPOINT.startswith("https://")
    return None if encrypted or is_loopback(constants.ENDPOINT) else False


def _verify(name: str, found: Iterable[Path]) -> None:
    damaged = list(found)
    if not damaged:
        return
    for file in damaged:
        file.resolve().unlink()  # so that the next pull fetches it again
    names = ", ".join(file.name for file in damaged)
    raise ModelUnavailable(
        f"{names} of {name} did not have the content that the hub announced, and was removed",
        fix=f"llmlab models pull {name}",
    )


def _one_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[Errno -?\d+\] ", "", line)
