"""What a database error means: may the transaction be repeated, and what does a person have to do.

The two drivers tell their reasons in different places: ``sqlite3`` in ``sqlite_errorcode``, ``pg8000`` in
the SQLSTATE field ``C`` of the first argument. No bound value and no PostgreSQL ``DETAIL`` (it quotes rows)
gets out.

Reference: SQLite result codes (sqlite.org/rescode.html); PostgreSQL 15, appendix A.
"""

import sqlite3
from enum import Enum

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Fault(Enum):
    """Kinds of database failure, with whether repeating may help and what the operator should do."""

    BUSY = (True, "is locked by another writer", "wait until it has finished, then repeat the command")
    SERIALISATION = (True, "could not order two changes made at once", "repeat the command")
    CONNECTION_LOST = (True, "lost the connection", "check that the server runs and is reachable")
    DISK_FULL = (False, "has no space left on its disk", "free some space, then repeat the command")
    READ_ONLY = (False, "is read-only", "give the user of this process the right to write to it")
    CANNOT_OPEN = (False, "cannot be opened", "check that the file and its folder exist and belong to you")
    DAMAGED = (False, "is damaged or is no fedseal database", "restore it from a backup")
    INPUT_OUTPUT = (False, "could not be read or written by the operating system", "check the disk")
    REFUSED = (False, "refused the user or password", "check the database URL")
    MISSING = (False, "does not exist on the server", "create it, then run `fedseal db upgrade`")
    NO_SCHEMA = (False, "lacks a table or column", "run `fedseal db upgrade`")
    CONSTRAINT = (False, "found a change that contradicts what is stored", "look at the named constraint")
    OTHER = (False, "refused the change", "look at the named reason")

    def __init__(self, passes: bool, what: str, remedy: str) -> None:
        self.passes = passes
        self.what = what
        self.remedy = remedy


_SQLITE = {
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_FULL: Fault.DISK_FULL,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_PERM: Fault.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Fault.CANNOT_OPEN,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
    sqlite3.SQLITE_IOERR: Fault.INPUT_OUTPUT,
    sqlite3.SQLITE_CONSTRAINT: Fault.CONSTRAINT,
}

_SQLSTATE = {
    "40001": Fault.SERIALISATION,
    "40P01": Fault.SERIALISATION,
    "55P03": Fault.BUSY,
    "53100": Fault.DISK_FULL,
    "25006": Fault.READ_ONLY,
    "28000": Fault.REFUSED,
    "28P01": Fault.REFUSED,
    "3D000": Fault.MISSING,
    "42P01": Fault.NO_SCHEMA,
    "42703": Fault.NO_SCHEMA,
    "42501": Fault.READ_ONLY,
}

_SQLSTATE_CLASS = {
    "08": Fault.CONNECTION_LOST,
    "53": Fault.CONNECTION_LOST,
    "57": Fault.CONNECTION_LOST,
    "23": Fault.CONSTRAINT,
    "XX": Fault.DAMAGED,
}


def classify(error: SQLAlchemyError) -> Fault:
    """The kind of failure behind ``error``."""
    if isinstance(error, PoolTimeout):
        return Fault.BUSY
    if not isinstance(error, DBAPIError):
        return Fault.OTHER
    if error.connection_invalidated:
        return Fault.CONNECTION_LOST
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return _of_sqlite(int(code), str(cause))
    state = _fields(cause).get("C", "")
    if state:
        return _SQLSTATE.get(state) or _SQLSTATE_CLASS.get(state[:2], Fault.OTHER)
    # pg8000 reports a refused or broken socket as InterfaceError without a SQLSTATE.
    return Fault.CONNECTION_LOST if type(cause).__name__ == "InterfaceError" else Fault.OTHER


def sentence_for(error: SQLAlchemyError, name: str, shown_url: str) -> str:
    """One sentence for a person: which database, which transaction, what is wrong, what to do."""
    fault = classify(error)
    detail = _detail(error) if fault in (Fault.CONSTRAINT, Fault.OTHER, Fault.NO_SCHEMA) else ""
    return f"{shown_url}: the database {fault.what} during '{name}'{detail}; {fault.remedy}."


def _of_sqlite(code: int, message: str) -> Fault:
    # The low byte is the primary result code; the rest only says where it happened.
    fault = _SQLITE.get(code & 0xFF, Fault.OTHER)
    if fault is Fault.OTHER and ("no such table" in message or "no such column" in message):
        return Fault.NO_SCHEMA
    return fault


def _fields(cause: BaseException | None) -> dict[str, str]:
    """The fields of a PostgreSQL error response, or none."""
    first = cause.args[0] if cause is not None and cause.args else None
    return {str(k): str(v) for k, v in first.items()} if isinstance(first, dict) else {}


def _detail(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    fields = _fields(cause)
    if fields:
        return f" ({fields.get('n') or fields.get('M', fields.get('C', ''))})"
    if isinstance(cause, sqlite3.Error):
        return f" ({cause})"
    return f" ({type(error).__name__})"
