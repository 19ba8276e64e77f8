"""Whether an nginx can run links: it takes the stream module, with TLS."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from llmlab.errors import EnvironmentFailure
from llmlab.gateway.binary import PINNED, WHEEL, Nginx
from llmlab.shell import run

STREAM_FILE = "ngx_stream_module.so"


def for_links(nginx: Nginx) -> Nginx:
    """The same nginx, with what it has to load for links instead of what a gateway takes.

    Raises:
        EnvironmentFailure: it has no stream module, or one without TLS.
    """
    told = run([str(nginx.path), "-V"], timeout=5).output
    load = _to_load(told)
    if load is None:
        raise _refused(nginx, "no stream module", " (Debian: apt-get install libnginx-mod-stream)")
    if not re.search(r"--with-stream_ssl_module(\s|$)", told):
        raise _refused(nginx, "a stream module without TLS", "")
    return replace(nginx, load_modules=load)


def _to_load(told: str) -> tuple[str, ...] | None:
    """Paths of dynamic modules; None where there is no stream module at all."""
    if re.search(r"--with-stream(\s|$)", told):
        return ()
    folder = re.search(r"--modules-path=(\S+)", told)
    if (
        "--with-stream=dynamic" in told
        and folder
        and (file := Path(folder[1], STREAM_FILE)).is_file()
    ):
        return (str(file),)
    return None


def _refused(nginx: Nginx, what: str, also: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"{nginx.path} has {what}, so it cannot be the end of a link to another machine",
        fix=f"pip install {WHEEL}=={PINNED} and set gateway.nginx to its nginx, or install the "
        f"module{also}",
    )
