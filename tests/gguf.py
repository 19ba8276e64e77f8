"""GGUF files and Python packages that hold them, made by hand: nothing in them can be loaded."""

from __future__ import annotations

import base64
import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

NAME = "tiny.Q4_1.gguf"


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(name: str = "Tiny", *, version: int = 3, padding: int = 0, **more: str) -> bytes:
    """The head of a language model, with one tensor."""
    words = {"general.architecture": "llama", "general.name": name,
             "tokenizer.chat_template": "{{ messages }}"}  # fmt: skip
    entries = [string(key) + struct.pack("<I", 8) + string(value) for key, value in words.items()]
    entries.append(string("llama.context_length") + struct.pack("<II", 4, 2048))
    tokens = ["<s>", "lamp"]
    entries.append(
        string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(tokens))
        + b"".join(string(one) for one in tokens)
    )  # fmt: skip
    entries.append(string("tokenizer.ggml.scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 0.25))
    entries += [string(key.replace("__", ".")) + struct.pack("<I", 8) + string(value)
                for key, value in more.items()]  # fmt: skip
    head = b"GGUF" + struct.pack("<IQQ", version, 1, len(entries)) + b"".join(entries)
    head += string("token_embd.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    head += bytes(-len(head) % 32)
    return head + bytes(32 + padding)


def split_gguf() -> bytes:
    """One of three parts, as its head says."""
    content = gguf()
    entry = string("split.count") + struct.pack("<IH", 2, 3)
    count = struct.unpack_from("<Q", content, 16)[0]
    at = content.index(string("token_embd.weight"))
    return content[:16] + struct.pack("<Q", count + 1) + content[24:at] + entry + content[at:]


def recorded(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(content)}"


def make_wheel(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    name: str = "tiny-model",
    version: str = "1.0",
    record: Mapping[str, str] | None = None,
) -> Path:
    """A real wheel with these files, that wants a package which there is not.

    Args:
        record: {path: hash and size} that RECORD says of a file instead of what is true.
    """
    folder.mkdir(parents=True, exist_ok=True)
    project = name.replace("-", "_")
    info = f"{project}-{version}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Dist: there-is-no-such-package\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    content = {**files, **{path: text.encode() for path, text in about.items()}}
    said = {path: recorded(data) for path, data in content.items()} | dict(record or {})
    lines = [f"{path},{rest}\n" for path, rest in said.items() if rest]
    wheel = folder / f"{project}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
    return wheel
