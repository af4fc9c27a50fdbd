"""SIGKILL before each SQL statement of a change: a real process dies, and what it left is compared, row by row.

The child is forked, opens the database by itself, counts its statements and its commit, and kills itself before the one
that was chosen. The parent then opens what is there, as the next process would. Nothing in the product knows of it.
"""

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from fedseal_governance.audit import check_log
from fedseal_governance.database import Database
from fedseal_governance.tables import metadata

Work = Callable[[Database], object]
Rows = dict[str, list[Any]]

_MOST = 400  # statements; a change that needs more would be a surprise


def rows_of(database: Database) -> Rows:
    """Every row of every table."""
    return database.read(
        lambda session: {
            table.name: sorted(map(repr, session.execute(select(table)).all())) for table in metadata.sorted_tables
        }
    )


def assert_all_or_nothing(path: Path, work: Work, *, origin: str) -> int:
    """Kill ``work`` before each of its statements on copies of the database ``path``; then let it happen on ``path``.

    Returns:
        How many statements there were, the commit among them.
    """
    before = _rows_at(path)
    whole = path.with_name("whole.db")
    shutil.copyfile(path, whole)
    _done(whole, work)
    after = _rows_at(whole)
    assert before != after
    for number in range(_MOST):
        trial = path.with_name("trial.db")
        _remove(trial)
        shutil.copyfile(path, trial)
        finished = _in_child(trial, work, number)
        database = Database(f"sqlite:///{trial}")
        try:
            found = rows_of(database)
            if finished:  # signatures may differ from those of another run
                assert _counts(found) == _counts(after)
            else:
                assert found == before, f"killed before statement {number}"
            database.read(lambda session: check_log(session, origin))
        finally:
            database.close()
        if finished:
            shutil.copyfile(whole, path)
            return number
    message = f"more than {_MOST} statements"
    raise AssertionError(message)


def _counts(rows: Rows) -> dict[str, int]:
    return {table: len(found) for table, found in rows.items()}


def _in_child(path: Path, work: Work, number: int) -> bool:
    """Whether ``work`` finished before it would have made statement ``number``."""
    child = os.fork()
    if child == 0:
        try:
            _done(path, work, number)
        except BaseException:  # noqa: BLE001 - a forked child must not run on as a second pytest
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def _done(path: Path, work: Work, number: int | None = None) -> None:
    database = Database(f"sqlite:///{path}")
    if number is not None:
        count = itertools.count()

        def die(*_arguments: object) -> None:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(database.engine, "before_cursor_execute", die)
        event.listen(database.engine, "commit", die)
    work(database)
    database.close()


def _rows_at(path: Path) -> Rows:
    database = Database(f"sqlite:///{path}")
    try:
        return rows_of(database)
    finally:
        database.close()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
