"""Texts from files, folders and standard input: what is read, as what, and what is said."""

from __future__ import annotations

import io
import os
import shlex
import zipfile
from pathlib import Path

import pytest

from llmlab.client.content import text_of
from llmlab.client.sources import Source, collect
from llmlab.errors import UsageError

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def zipped(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 10)
    return held.getvalue()


# Encodings and formats


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_with_its_mark_is_decoded(encoding: str) -> None:
    assert text_of("Le café ferme à midi.".encode(encoding), "menu.txt") == "Le café ferme à midi."


def test_big_endian_text_with_its_mark_is_decoded() -> None:
    assert text_of(b"\xfe\xff" + "à midi".encode("utf-16-be"), "menu.txt") == "à midi"
    assert text_of(b"\x00\x00\xfe\xff" + "à midi".encode("utf-32-be"), "menu.txt") == "à midi"


@pytest.mark.parametrize(
    ("data", "says", "fix"),
    [
        (b"%PDF-1.7\n%", "a PDF", "pdftotext 'a file' - | llmlab summarize -"),
        (b"{\\rtf1 Hello}", "RTF", "pandoc -f rtf -t plain 'a file' | llmlab summarize -"),
        (zipped("[Content_Types].xml", "word/document.xml"), "Word", "pandoc -f docx"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "Excel", "csv 'a file' && cat 'a file'"),
        (zipped("a.txt"), "a zip archive", "unzip 'a file' -d texts && llmlab summarize texts"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "before 2007", "soffice"),
        (b"\x1f\x8b\x08\x00", "gzip", "gzip -dc 'a file' | llmlab summarize -"),
        (PNG, "a picture", "tesseract 'a file' -"),
        (b"\x7fELF\x02\x01", "a program", None),
        (b"RIFF\x24\x00\x00\x00WAVE", "sound", None),
        ("a lamp".encode("utf-16-le"), "UTF-16", "iconv -f utf-16le -t utf-8 'a file'"),
        ("a lamp".encode("utf-16-be"), "UTF-16", "iconv -f utf-16be -t utf-8 'a file'"),
        (b"\xff\xfea", "not text in UTF-16 (byte 2)", None),
        (b"a lamp\x00", "no text (byte 6 is NUL)", "file 'a file'"),
        (b"caf\xe9", "not text in UTF-8 (byte 3); it may be in cp1252", "iconv -f cp1252 -t utf-8"),
        (b"caf\x81\xff", "not text in UTF-8 (byte 3)", "file 'a file'"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_with_the_way_to_its_text(
    data: bytes, says: str, fix: str | None
) -> None:
    with pytest.raises(UsageError) as refused:
        text_of(data, "a file")
    assert refused.value.message.startswith("a file is ")
    assert says in refused.value.message
    assert (fix is None) == (refused.value.fix is None)
    if fix:
        assert fix in (refused.value.fix or "")


def test_standard_input_is_named_as_such() -> None:
    with pytest.raises(UsageError) as refused:
        text_of(b"%PDF-1.7\n%", "-")
    assert refused.value.message == "stdin is a PDF"
    assert refused.value.fix == "pdftotext FILE - | llmlab summarize -"


@pytest.mark.parametrize("text", ["RIFF is a format.", "BZh!", "GIF89a was new.", "ID3 tags", ""])
def test_text_that_begins_as_another_format_does_is_text(text: str) -> None:
    assert text_of(text.encode(), "notes.txt") == text


# Pages of the web

PAGE = """<!DOCTYPE html>
<html><head><title>Lamps</title><meta charset="utf-8"><style>p {color: red}</style>
<script>if (a < b) { document.write("<p>no</p>") }</script></head>
<body><nav><ul><li>Home</li></ul></nav>
<main><h1>The lens</h1><p>Fresnel   built
it in 1822&nbsp;&mdash; <b>no</b>body had.</p><ul><li>a lamp<li>a lens</ul>
<table><tr><td>height</td><td>40 m</td></tr></table>line<br>end<pre>x
  y</pre></main><script src="x.js"></script></body></html>
"""


@pytest.mark.parametrize("name", ["page.html", "PAGE.HTM", "-"])
def test_a_page_of_the_web_is_what_its_reader_reads(name: str) -> None:
    assert text_of(PAGE.encode(), name) == (
        "The lens\n\nFresnel built it in 1822\u00a0— nobody had.\n\n- a lamp\n- a lens\n\n"
        "height 40 m\n\nline\nend\n\nx\ny"
    )


def test_a_page_is_read_in_the_encoding_that_it_declares() -> None:
    page = '<meta charset="ISO-8859-1"><p>caf\u00e9 \u2013 midi'
    assert text_of(page.encode("cp1252"), "page.html") == "café – midi"


@pytest.mark.parametrize(
    "page",
    [
        "<nav>Home<p>The lamp.",
        "<head><title>x</title><body><p>The lamp.",
        "<svg><svg></svg><text>x</text></svg><p>The lamp.</div></p>",
        "<form><p>The lamp.</form>",
        "<p>The lamp.<script>",
    ],
)
def test_a_page_with_faults_is_read_all_the_same(page: str) -> None:
    assert "The lamp." in text_of(page.encode(), "page.html")


def test_text_that_speaks_of_tags_stays_as_it_is() -> None:
    assert text_of(b"Use <p> and <b>.", "notes.txt") == "Use <p> and <b>."


# Pages of paper


def test_pages_become_running_text() -> None:
    pages = (
        "Lamps and lenses          7\n\nThe lamp moved to Seat-\ntle in a box that was made\n\n"
        "A footer\n\fLamps and lenses          8\n\nof wood.\n\nNobody saw\n\nit. Then\n\n"
        "A footer\n\fLamps and lenses          9\n\nThe end.\n\nA footer\n\f"
    )
    assert text_of(pages.encode(), "book.txt") == (
        "The lamp moved to Seattle in a box that was made\nof wood.\n\nNobody saw\nit. Then\n\n"
        "The end."
    )


def test_a_page_that_repeats_nothing_loses_nothing() -> None:
    assert text_of(b"One lamp.\fTwo lamps.\f", "a") == "One lamp.\n\nTwo lamps."
    assert text_of(b"\f\f", "a") == ""


def test_blocks_of_what_has_no_pages_stay() -> None:
    assert text_of(b"A heading\n\nthe tower fell.", "a") == "A heading\n\nthe tower fell."


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [b"a\f", b"a-\n", b"\f", b"<p>", b"<nav>", b"<!--", b"<", b"a\n\n\f", b"\n \n"]
)
@pytest.mark.parametrize("name", ["a.txt", "a.html"])
def test_many_of_anything_are_no_trouble(data: bytes, name: str) -> None:
    assert text_of(data * 50_000, name) is not None


# Files and folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.md", "more/c.TXT", ".git/info.txt", ".venv/lib/d.txt", "._b.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("A lamp.")
    (tmp_path / "a link.txt").symlink_to("b.txt")
    os.link(tmp_path / "a.md", tmp_path / "z.md")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    return tmp_path


def names(*inputs: Path) -> list[str]:
    return [source.name for source in collect([str(one) for one in inputs])]


def test_a_folder_gives_each_of_its_files_once_and_nothing_hidden(folder: Path) -> None:
    files = [str(folder / name) for name in ("a.md", "b.txt", "more/c.TXT")]
    assert names(folder) == files
    assert names(folder, folder / "more") == files


def test_what_is_named_is_taken_hidden_or_twice(folder: Path) -> None:
    hidden = folder / ".git"
    assert names(hidden) == [str(hidden / "info.txt")]
    named = folder / "a link.txt"
    assert names(named, named) == [str(named)] * 2
    assert names(folder, named) == [str(folder / "a.md"), str(folder / "more/c.TXT"), str(named)]


@pytest.mark.parametrize("length", [5, 500])
def test_a_text_in_place_of_a_file_is_told_where_texts_go(length: int) -> None:
    text = "It's a lamp. " * length
    (source,) = collect([text])
    with pytest.raises(UsageError) as refused:
        source.read()
    assert refused.value.message.startswith("there is no file \"It's a lamp.")
    assert shlex.split(refused.value.fix or "")[-3:] == ["llmlab", "summarize", "-"]
    assert len(refused.value.message) < 100


def test_a_missing_file_is_called_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"^missing\.txt cannot be read: No such file"):
        Source("missing.txt", Path("missing.txt")).read()
