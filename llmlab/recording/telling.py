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


def deliver(lab: Lab, *, shared: bool = False) -> None:
    """Bring what is recorded to all who should know: also to processes and containers that are new.

    Args:
        shared: containers write from now on, also what was begun without them.
    """
    orders = orders_of(lab)
    for order in orders if shared else ():
        _share(folder_of(lab) / order.id)
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


def _share(folder: Path) -> None:
    """Nothing above ``written`` is a container's to change, so no link of theirs is followed."""
    if (folder / WRITTEN).is_dir():
        folder.chmod(FOLDER_MODE)
        (folder / WRITTEN).chmod(SHARED_MODE)


def _write(file: Path, orders: Iterable[Order], mode: int) -> None:
    orders = tuple(orders)
    if orders:
        write_atomically(file, Orders(orders=orders).model_dump_json() + "\n", mode)
    else:
        file.unlink(missing_ok=True)
    if file.parent.is_dir():
        sync_folder(file.parent)
