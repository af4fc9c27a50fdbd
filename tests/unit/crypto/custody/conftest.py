"""One key pair a session; making one takes a moment."""

import pytest

from fedseal_crypto.homomorphic import SecretContext, generate_keys, parameters_for_sums
from tests.unit.crypto.custody.rounds import NAMES, World


@pytest.fixture(scope="session")
def custodian_key() -> SecretContext:
    """The key of the custodian; nobody may destroy it."""
    return generate_keys(parameters_for_sums(len(NAMES)))


@pytest.fixture
def padded(custodian_key: SecretContext) -> World:
    """A round of `homomorphic` about to begin."""
    return World(secret=custodian_key, masked=False)


@pytest.fixture
def hybrid(custodian_key: SecretContext) -> World:
    """A round of `hybrid` about to begin."""
    return World(secret=custodian_key, masked=True)
