"""Roles that one person may not hold together, and steps one person may not do both of."""

import pytest

from fedseal_crypto.identity import Role
from fedseal_governance.errors import RefusedError
from fedseal_governance.four_eyes import require_another, require_compatible


@pytest.mark.parametrize(
    "roles",
    [
        (),
        (Role.AUDITOR,),
        (Role.COMPLIANCE_OFFICER, Role.NODE_OPERATOR),
        (Role.ADMINISTRATOR, Role.NODE_OPERATOR, Role.COMPLIANCE_OFFICER),
        (Role.ADMINISTRATOR, Role.DATA_SCIENTIST),
    ],
)
def test_compatible_roles(roles: tuple[Role, ...]) -> None:
    require_compatible("person/alice", roles)


@pytest.mark.parametrize("other", [role for role in Role if role is not Role.AUDITOR])
def test_an_auditor_has_no_other_part(other: Role) -> None:
    with pytest.raises(RefusedError, match="person/alice cannot be both"):
        require_compatible("person/alice", [other, Role.AUDITOR])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Role.COMPLIANCE_OFFICER, "cannot be both compliance officer and data scientist"),
        (Role.NODE_OPERATOR, "cannot be both data scientist and node operator"),
    ],
)
def test_whoever_asks_does_not_allow(other: Role, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        require_compatible("person/alice", [Role.DATA_SCIENTIST, other])


def test_second_step_needs_another_person() -> None:
    require_another("person/bob", earlier="person/alice", duty="approve it")
    with pytest.raises(RefusedError, match="cannot also approve it; ask another person"):
        require_another("person/alice", earlier="person/alice", duty="approve it")
