"""One federation whose coordinator tells of jobs."""

import pytest

from tests.unit.report.telling import Teller, found_teller


@pytest.fixture(scope="session")
def teller() -> Teller:
    """A coordinator and a data scientist of the federation heart."""
    return found_teller()
