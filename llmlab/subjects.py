"""What the subject of a token may be, as nginx.conf and NGINX's maps have it."""

from __future__ import annotations

LONGEST = 256  # bytes, as in nginx.conf


def problem(sub: str) -> str:
    """What is wrong with a subject, to complete "it would be refused: "; "" if nothing is."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in sub):
        return "its subject holds a control character"
    if sub != sub.strip(" "):
        return "its subject begins or ends with a space"
    try:
        size = len(sub.encode())
    except UnicodeEncodeError:  # also of a command line that is not UTF-8
        return "its subject is not UTF-8"
    if size > LONGEST:
        return f"its subject is longer than {LONGEST} bytes"
    return ""
