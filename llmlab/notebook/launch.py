"""Run JupyterLab for a lab: python -m llmlab.notebook.launch LAB PORT TOKEN_FILE

Everything it keeps stays in the lab's own folders: neither a person's JupyterLab settings
nor their kernels change what runs here, and nothing of theirs is changed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder

CANNOT_START = 78  # exit code when JupyterLab refuses what it was given; as in llmlab.service


def main() -> None:
    root, port, token_file = sys.argv[1:]
    lab = Lab(Path(root))
    os.environ.update(environment(lab))
    _write_page_settings(lab)
    from jupyterlab.labapp import LabApp

    try:
        LabApp.launch_instance(arguments(lab, int(port), Path(token_file)))
    except SystemExit as end:  # a crash, which is worth another try, ends otherwise
        sys.exit(CANNOT_START if end.code else 0)


def environment(lab: Lab) -> dict[str, str]:
    """What the server and its kernels see beside what the supervisor gave them."""
    own = private_folder(lab.state / "jupyter")
    return {
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(private_folder(lab.runtime_dir / "jupyter")),
        "IPYTHONDIR": str(own / "ipython"),
        "LLMLAB_LAB": str(lab.root),  # `Client()` in a notebook finds this lab, wherever it works
        # `!llmlab` and `!pip` in a notebook, and in a terminal, are this installation's.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
    }


def arguments(lab: Lab, port: int, token_file: Path) -> list[str]:
    """JupyterLab's arguments. They stay in this process, so its token is in no command line.

    Given here, they also beat a configuration of the whole machine.
    """
    return [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        f"--ServerApp.root_dir={lab.root / 'notebooks'}",
        f"--ServerApp.allow_root={os.geteuid() == 0}",
        "--ServerApp.allow_remote_access=False",
        # What a kernel prints goes through sockets in a private folder: every user of this
        # machine could listen to a port.
        "--KernelManager.transport=ipc",
        f"--IdentityProvider.token={token_file.read_text(encoding='ascii')}",
    ]


def _write_page_settings(lab: Lab) -> None:
    """No question about news on the first page, and no look for updates anywhere."""
    folder = private_folder(lab.state / "jupyter" / "config" / "labconfig")
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    write_atomically(folder / "page_config.json", json.dumps(disabled))


if __name__ == "__main__":
    main()
