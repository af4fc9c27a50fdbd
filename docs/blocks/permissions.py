"""The table of permissions as pages show it, from the rows that decide."""

from collections.abc import Callable, Mapping

from blocks.markdown import code, table

from fedseal_crypto.identity import PartyKind, Role
from fedseal_governance.four_eyes import INCOMPATIBLE
from fedseal_governance.permissions import PERMISSIONS, Rule

_ROLES = tuple(Role)
_MACHINES = (PartyKind.NODE, PartyKind.CUSTODIAN, PartyKind.COORDINATOR)


def _cell(rule: Rule, role: Role) -> str:
    if role not in rule.roles:
        return "-"
    return "own" if rule.own else "yes"


def _what(rule: Rule) -> str:
    elsewhere = ", ".join(kind.value for kind in PartyKind if kind in rule.also)
    return f"{rule.what} (also at: {elsewhere})" if elsewhere else rule.what


def _of(place: PartyKind) -> str:
    header = ["operation", "what", *(role.value.replace("_", " ") for role in _ROLES), "machine", "second person"]
    rows = [
        [
            code(operation.value),
            _what(rule),
            *(_cell(rule, role) for role in _ROLES),
            ", ".join(kind.value for kind in _MACHINES if kind in rule.machines) or "-",
            rule.four_eyes or "-",
        ]
        for operation, rule in PERMISSIONS.items()
        if rule.at is place
    ]
    return table(header, rows)


def _tables() -> str:
    places = sorted({rule.at for rule in PERMISSIONS.values()})
    return "\n\n".join(f"## At a {place.value}\n\n{_of(place)}" for place in places)


def _incompatible() -> str:
    pairs = [sorted(pair) for pair in INCOMPATIBLE]
    lines = sorted(" and ".join(code(role.value) for role in pair) for pair in pairs)
    return "\n".join(f"- {line}" for line in lines)


BLOCKS: Mapping[str, Callable[[], str]] = {"permissions": _tables, "incompatible-roles": _incompatible}
