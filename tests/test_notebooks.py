"""The notebooks run top to bottom against a live lab."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import LabUnderTest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def run(lab: LabUnderTest, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run a notebook in the lab's own notebooks folder; gives what its cells printed."""
    for name in ("LLMLAB_URL", "LLMLAB_TOKEN", "LLMLAB_LAB"):
        monkeypatch.delenv(name, raising=False)

    def execute(name: str) -> str:
        notebook = nbformat.read(lab.root / "notebooks" / name, as_version=4)
        where = {"metadata": {"path": str(lab.root / "notebooks")}}
        NotebookClient(notebook, timeout=120, resources=where).execute()
        return "\n".join(
            output["text"]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if output["output_type"] == "stream"
        )

    return execute


def test_the_summarization_notebook_shows_a_summary_and_what_it_left_out(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("text_summarization.ipynb")
    assert "200 textrank" in printed
    assert 'Bearer realm="LLM API"' in printed
    assert "names: " in printed
    assert "F5 is mentioned." in printed


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.name)
def test_a_notebook_is_kept_without_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
