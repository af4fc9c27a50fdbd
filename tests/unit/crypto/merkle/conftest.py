import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Known answers; each group in the file states its source."""
    data: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_bytes())
    return data
