"""Tells the APIs of a lab what to record: one file for all processes of this machine, and one for
each container, which sees the folder of recordings elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmlab.errors import LlmlabError, unreadable
from llmlab.files import sync_folder, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.recording.order import FILE, LARGEST, WRITTEN, Order, Orders, orders_file

MOUNT = Path("/var/lib/recordings")  # of a container
# All of it lies below .llmlab/, which is closed; the user of a container is another one.
FOLDER_MODE, SHARED_MODE = 0o755, 0o777


def folder_of(lab: Lab) -> Path:
    """Where recordings lie."""
    return lab.state / "recordings"


def orders_of(lab: Lab) -> tuple[Order, ...]:
    """What is being recorded, as far as it has not ended by itself.

    Raises:
        LlmlabError: the file that says so is damaged.
    """
    file = lab.state / FILE
    try:
        return Orders.model_validate_json(file.read_bytes()[:LARGEST]).orders
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise LlmlabError(
            f"what is recorded in this lab cannot be read from {file}: {unreadable(error)}",
            fix=f"rm {file}; llmlab record start begins anew",
        ) from None


def tell(lab: Lab, orders: Iterable[Order]) -> None:
    """Have this recorded from now on, and nothing else, within a second."""
    _write(lab.state / FILE, tuple(orders), 0o600)
    deliver(lab)


def deliver(lab: Lab) -> None:
    """Bring what is recorded to all who should know: also to containers that are new."""
    orders = orders_of(lab)
    local = lab.state / "deployments"
    if local.is_dir():
        _write(orders_file(local / "settings.json"), orders, 0o600)
    for settings in sorted((lab.state / "compose").glob("*/settings.json")):
        inside = [
            one.model_copy(update={"folder": MOUNT / one.id / WRITTEN, "mode": 0o644})
            for one in orders
        ]
        _write(orders_file(settings), inside, 0o644)


def make_folder(lab: Lab, name: str, *, shared: bool) -> Path:
    """For one recording: where processes write.

    Args:
        shared: containers write there as well.
    """
    private_folder(folder_of(lab), FOLDER_MODE)
    private_folder(folder_of(lab) / name, FOLDER_MODE if shared else 0o700)
    return private_folder(folder_of(lab) / name / WRITTEN, SHARED_MODE if shared else 0o700)


def _write(file: Path, orders: Iterable[Order], mode: int) -> None:
    orders = tuple(orders)
    if orders:
        write_atomically(file, Orders(orders=orders).model_dump_json() + "\n", mode)
    else:
        file.unlink(missing_ok=True)
    if file.parent.is_dir():
        sync_folder(file.parent)
