"""Fetching large files into the hub's cache, so that an interrupted download is taken up.

huggingface_hub writes each try to a file of its own and deletes it when the try
fails, so by itself it begins a file anew. Here the part stays beside the blob
until it is complete; what is downloaded is found by the library afterwards.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from llmlab.files import locked


def fetch_large_files(
    repository: str, revision: str, *, patterns: Sequence[str], token: bool | None
) -> None:
    """Complete the blobs of all large files at the top of a repository, one after the other."""
    from huggingface_hub import HfApi, constants, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    folder = repo_folder_name(repo_id=repository, repo_type="model")
    blobs = Path(constants.HF_HUB_CACHE, folder, "blobs")
    blobs.mkdir(parents=True, exist_ok=True)
    for file in HfApi(token=token).list_repo_tree(repository, revision=revision):
        lfs = getattr(file, "lfs", None)
        if lfs is None or not any(fnmatch.fnmatch(file.path, one) for one in patterns):
            continue
        blob = blobs / lfs.sha256
        part = blob.with_suffix(".llmlab-part")
        with locked(blob.with_suffix(".llmlab-lock")):
            if blob.exists():
                continue
            if part.exists() and part.stat().st_size > lfs.size:
                part.unlink()
            with part.open("ab") as content:
                http_get(
                    hf_hub_url(repository, file.path, revision=revision), content,
                    resume_size=content.tell(), headers=build_hf_headers(token=token),
                    expected_size=lfs.size, displayed_filename=file.path,
                )  # fmt: skip
            part.replace(blob)
