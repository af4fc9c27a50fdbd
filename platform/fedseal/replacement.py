"""How a party's keys and certificates are replaced together, although four files cannot be renamed at once.

    .rotation/   new keys and the request for their certificates; private, until the answer is here
    .rotated/    the same with the certificates: from the rename to this name on, the new ones count
    .replaced/   already copied to their places, about to be removed

Rules this module keeps: before the one rename nothing of the present files has changed, and after it the rest is done
again until it is whole, by whoever opens the folder next. A process that is killed leaves one of these two states.
"""

import shutil
from pathlib import Path

from fedseal.files import sync_folder, write_atomic

PENDING = ".rotation"
_DECIDED = ".rotated"
_DONE = ".replaced"
_REPLACED = ("keys/tls.pem", "keys/identity.pem", "certificates/tls.pem", "certificates/identity.pem")


def decide(folder: Path) -> None:
    """Make the complete pending files count, and put them into their places.

    Raises:
        OSError: The disk is full or may not be written; either nothing has changed or `settle` can be repeated.
    """
    (folder / PENDING).rename(folder / _DECIDED)
    sync_folder(folder)
    settle(folder)


def settle(folder: Path) -> bool:
    """Finish a replacement that was decided; whether there was one.

    Raises:
        OSError: The disk is full or may not be written; nothing is lost, repeat it.
    """
    shutil.rmtree(folder / _DONE, ignore_errors=True)
    decided = folder / _DECIDED
    if not decided.is_dir():
        return False
    try:
        for name in _REPLACED:
            write_atomic(folder / name, (decided / name).read_bytes(), private=name.startswith("keys/"))
        decided.rename(folder / _DONE)
    except FileNotFoundError:
        if decided.is_dir():
            raise
        return True  # another process settled the same, and was faster
    sync_folder(folder)
    shutil.rmtree(folder / _DONE, ignore_errors=True)
    return True
