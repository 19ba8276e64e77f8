"""Become a part of a Ray cluster: python -m llmlab.engines.ray.start_node LAB RAY head|node

Supervised processes of the lab, on the gateway's machine: the cluster's head, unless that runs
elsewhere, and this machine as a node of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmlab.config.ray import Ray
from llmlab.engines.ray import cluster
from llmlab.engines.ray.wanted import folder_of
from llmlab.lab import Lab, private_folder


def main() -> None:
    lab, ray, part = Lab(Path(sys.argv[1])), Ray.model_validate_json(sys.argv[2]), sys.argv[3]
    environ = cluster.environment(cluster.make_token(lab, ray), alone=ray.is_alone)
    environ[cluster.FOLDER] = str(folder_of(lab) / "node")
    if part == "head":
        environ["RAY_gcs_storage_path"] = str(private_folder(cluster.storage(lab)))
        command = cluster.head_command(lab, ray)
    else:
        session = cluster.session_folder(lab)
        command = cluster.node_command(cluster.head_address(ray), ray.host, ray.cores, session)
    os.execve(command[0], command, environ)


if __name__ == "__main__":
    main()
