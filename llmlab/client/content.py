"""What the bytes of a file say: their text, or what they are instead and how to get its text."""

from __future__ import annotations

import codecs
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from llmlab.client.markup import is_html, text_of_html
from llmlab.client.pages import text_of_pages
from llmlab.errors import UsageError
from llmlab.hyphens import mended

# Longer marks first: UTF-32 begins with the mark of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ASK, _THEN = "| llmlab summarize -", "&& llmlab summarize texts"


@dataclass(frozen=True, slots=True)
class Format:
    """What is no text by itself.

    Args:
        said: As in "it is ...".
        fix: How to get its text, with {file}; empty where there is none.
    """

    said: str
    fix: str = ""


def _pandoc(kind: str) -> str:
    return f"pandoc -f {kind} -t plain {{file}} {_ASK}"


_CONVERT = "soffice --headless --convert-to"
_SLIDES = f"{_CONVERT} pdf {{file}} && pdftotext {{stem}}.pdf - {_ASK}"
_PICTURE = Format("a picture", f"tesseract {{file}} - {_ASK}")
_PROGRAM = Format("a program")
_SOUND = Format("sound or film")
_OFFICE = Format(
    "an Office document of before 2007",
    f"{_CONVERT} txt:Text {{file}} && llmlab summarize {{stem}}.txt",
)
_STARTS = (
    (b"%PDF-", Format("a PDF", f"pdftotext {{file}} - {_ASK}")),
    (b"{\\rtf", Format("a document in RTF", _pandoc("rtf"))),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE),
    (b"%!PS", Format("PostScript", f"ps2ascii {{file}} {_ASK}")),
    (b"\x1f\x8b", Format("compressed by gzip", f"gzip -dc {{file}} {_ASK}")),
    (b"BZh", Format("compressed by bzip2", f"bzip2 -dc {{file}} {_ASK}")),
    (b"\xfd7zXZ\x00", Format("compressed by xz", f"xz -dc {{file}} {_ASK}")),
    (b"\x28\xb5\x2f\xfd", Format("compressed by zstd", f"zstd -dc {{file}} {_ASK}")),
    (b"7z\xbc\xaf\x27\x1c", Format("a 7z archive", f"7z x {{file}} -otexts {_THEN}")),
    (b"Rar!\x1a\x07", Format("a RAR archive", f"unrar x {{file}} texts/ {_THEN}")),
    (b"\x89PNG\r\n\x1a\n", _PICTURE), (b"\xff\xd8\xff", _PICTURE), (b"GIF8", _PICTURE),
    (b"II*\x00", _PICTURE), (b"MM\x00*", _PICTURE),
    (b"\x7fELF", _PROGRAM), (b"MZ\x90\x00", _PROGRAM), (b"\xcf\xfa\xed\xfe", _PROGRAM),
    (b"\xca\xfe\xba\xbe", _PROGRAM),
    (b"SQLite format 3\x00", Format("a SQLite database", f"sqlite3 {{file}} .dump {_ASK}")),
    (b"ID3", _SOUND), (b"OggS", _SOUND), (b"fLaC", _SOUND), (b"RIFF", _SOUND),
)  # fmt: skip
_ZIP = Format("a zip archive", f"unzip {{file}} -d texts {_THEN}")
# What a zip holds tells what it is.
_ZIPS = (
    (b"word/", Format("a Word document", _pandoc("docx"))),
    (b"opendocument.text", Format("an OpenDocument text", _pandoc("odt"))),
    (b"epub", Format("an e-book", _pandoc("epub"))),
    (b"xl/", Format("an Excel workbook", f"{_CONVERT} csv {{file}} && cat {{stem}}.csv {_ASK}")),
    (
        b"ppt/",
        Format("a PowerPoint file", _SLIDES),
    ),
)
_SNIFFED = 65536  # bytes of a file that are looked at for its kind


def text_of(data: bytes, name: str) -> str:
    """The text as a reader sees it: HTML without its tags, pages without what every page
    repeats, words whole that the end of a line broke.

    Args:
        name: of the file; "-" for standard input.

    Raises:
        UsageError: it is something else; the fix says how to get its text, if there is a way.
    """
    text = _decoded(data, name)
    if is_html(text, name):
        text = text_of_html(text)
    return mended(text_of_pages(text)).text


def _decoded(data: bytes, name: str) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                said = f"not text in {encoding.removesuffix('-sig').upper()} (byte {error.start})"
                raise _refusal(name, Format(f"{said}, as its first bytes say")) from None
    if found := _format(data):
        raise _refusal(name, found)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if (text := _as_declared(data)) is not None:
            return text
        raise _refusal(name, _other_encoding(data, error)) from None


def _format(data: bytes) -> Format | None:
    for start, found in _STARTS:
        if data.startswith(start) and not (start.isalnum() and _is_text(data)):
            return found
    if data.startswith(b"PK\x03\x04"):
        head = data[:_SNIFFED] + data[-_SNIFFED:]  # the list of all entries is at the end
        return next((found for sign, found in _ZIPS if sign in head), _ZIP)
    if data[4:8] == b"ftyp":
        return _SOUND
    if b"\x00" not in data:
        return None
    for encoding, place in (("utf-16le", 1), ("utf-16be", 0)):
        half = data[place:_SNIFFED:2]
        if half.count(0) > 0.5 * len(half) and len(data) % 2 == 0:
            fix = f"iconv -f {encoding} -t utf-8 {{file}} {_ASK}"
            return Format("text in UTF-16 without its mark, it seems", fix)
    return Format(f"no text (byte {data.index(0)} is NUL)", "file {file}")


def _is_text(data: bytes) -> bool:
    """Whether what begins with letters ("ID3", "RIFF", "GIF8") goes on as text."""
    try:
        return b"\x00" not in data and bool(data.decode())
    except UnicodeDecodeError:
        return False


_DECLARED = re.compile(rb"<meta\s[^>]*charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)


def _as_declared(data: bytes) -> str | None:
    """HTML in the encoding that it names; what calls itself Latin-1 is Windows' (WHATWG)."""
    found = _DECLARED.search(data, 0, _SNIFFED)
    if not found:
        return None
    try:
        encoding = codecs.lookup(found[1].decode()).name
        return data.decode("cp1252" if encoding in ("iso8859-1", "ascii") else encoding)
    except (LookupError, UnicodeError):
        return None


def _other_encoding(data: bytes, error: UnicodeDecodeError) -> Format:
    said = f"not text in UTF-8 (byte {error.start})"
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return Format(said, "file {file}")
    maybe = f"{said}; it may be in cp1252, as Windows writes the West's languages"
    return Format(maybe, f"iconv -f cp1252 -t utf-8 {{file}} {_ASK}")


def _refusal(name: str, found: Format) -> UsageError:
    file = "FILE" if name == "-" else shlex.quote(name)
    fix = found.fix.format(file=file, stem=shlex.quote(Path(name).stem)) if found.fix else None
    return UsageError(f"{'stdin' if name == '-' else name} is {found.said}", fix=fix)
