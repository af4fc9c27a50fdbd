"""The authority, killed before each SQL statement of a revocation: the new list is there with its entry, or neither."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedseal.authority import applicant
from fedseal.authority.office import Office
from fedseal_governance.database import Database
from tests.unit.killing import assert_all_or_nothing

if TYPE_CHECKING:
    from tests.unit.authority.conftest import Federation


def test_a_revocation(federation: "Federation", tmp_path: Path) -> None:
    now, home = federation.now, federation.office.home
    pending = applicant.begin(federation.invite(), tmp_path / "cleveland", passphrase=None, now=now, entropy=os.urandom)
    folder = tmp_path / "cleveland"
    applicant.enrol(pending, folder, exchange=lambda sent: federation.office.issue(sent, now=now), now=now)
    keys = federation.office._require_keys()
    federation.office.close()
    path = home.folder.database_path

    def revoke(database: Database) -> None:
        Office(home, database, keys).revoke("node/cleveland", reason="superseded", now=federation.later(days=1))

    assert assert_all_or_nothing(path, revoke, origin=home.origin) > 8
