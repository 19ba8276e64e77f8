"""Make what a lab of an earlier llmlab leaves when it is down, for ``tests/test_upgrade.py``.

    git worktree add /tmp/earlier COMMIT
    .venv/bin/python -m tests.earlier.make /tmp/earlier tests/earlier/DAY

The lab is made by that checkout's own code, through its command. Databases become SQL, so that one
can read them. What is rendered anew at each `up` is left out, and so are logs and sockets. Keys
keep their form but not their secrets: those in here are public, and for tests only.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.conftest import free_port
from tests.tiny import make_tiny_t5

VERBS = """
up
deploy textrank --name next --why candidate
models add {tiny} --name tiny --runtime transformers --license Apache-2.0 --note made-for-tests
models tag tiny:1 good --why the-only-one
flag set brief --percent 30 --max-length 40 --why are-shorter-ones-read-more
flag set next-for-ada --for sub=ada --deployment next
keys rotate
rollout start canary next --steps 25,100 --interval 10s --why a-first-try
rollout abort --why only-a-try
rollout start bluegreen next --why the-next-version
rollout promote
deploy textrank --name third
rollout start canary third --steps 40,100 --interval 60s --why under-way
rollout pause
down
"""
KEPT = ("configs/lab.toml", "nginx.conf", "docker-compose.yml")
DATABASES = {"delivery": "delivery.db", "registry": "registry/registry.db"}


def main(checkout: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, tiny = Path(folder) / "lab", Path(folder) / "tiny"
        smallest = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
        make_tiny_t5(tiny, "The gateway asks for a token.", window=16, **smallest)
        work(checkout, root, tiny)
        shutil.rmtree(out, ignore_errors=True)
        keep(root, out)


def work(checkout: Path, root: Path, tiny: Path) -> None:
    """Use a lab as somebody might, by the code of that checkout."""
    environ = os.environ | {
        "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1",
        "LLMLAB_STABLE": "textrank", "LLMLAB_PORT": str(free_port()),
    }  # fmt: skip
    llmlab = [sys.executable, "-P", "-m", "llmlab"]
    subprocess.run([*llmlab, "init", str(root)], env=environ, check=True, timeout=60)
    try:
        for line in VERBS.format(tiny=tiny).split("\n"):
            if line:
                verb = [*llmlab, *line.split()]
                subprocess.run(verb, env=environ, cwd=root, check=True, timeout=120)
                settle(llmlab, environ, root)
    finally:
        subprocess.run([*llmlab, "down"], env=environ, cwd=root, check=True, timeout=120)


def settle(llmlab: list[str], environ: dict[str, str], root: Path) -> None:
    """Wait until a rollout has begun what it was told, if there is one."""
    for _ in range(60):
        shown = subprocess.run(
            [*llmlab, "rollout", "get", "-o", "json"],
            env=environ, cwd=root, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        between = ("starting", "completing", "aborting")
        if shown.returncode or json.loads(shown.stdout)["phase"] not in between:
            return
        time.sleep(1)
    raise TimeoutError(shown.stdout)


def keep(root: Path, out: Path) -> None:
    """Write down what is left, without what was rendered and without secrets."""
    for name in KEPT:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, out / name)
    state, kept = root / ".llmlab", out / "state"
    kept.mkdir()
    for name, file in DATABASES.items():
        with closing(sqlite3.connect(state / file)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            lines = [*database.iterdump(), f"PRAGMA user_version = {version};"]
        (kept / f"{name}.sql").write_text("\n".join(lines) + "\n")
    shutil.copytree(state / "registry" / "models", kept / "models")
    record = (state / "running.json").read_text() if (state / "running.json").exists() else ""
    if record:
        (kept / "running.json").write_text(record.replace(str(root), "/lab"))
    keys = json.loads((state / "keys" / "jwks.json").read_text())
    for number, key in enumerate(keys["keys"]):
        public = f"public, for tests only: key {number} of 32 bytes or more".encode()
        key["k"] = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    (kept / "jwks.json").write_text(json.dumps(keys, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
