"""What stays at a node: its tables, compared at every use, and the local state of methods."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from fedseal.errors import RefusalError
from fedseal.learning import LocalData, load_dataset
from fedseal.node.data import DataRoom
from fedseal.node.local_state import LocalStates
from fedseal_crypto.digests import Digest
from fedseal_governance.datasets import DatasetSchema
from tests.unit.node.attempts import Coordinator
from tests.unit.node.papers import DATASET, ROWS, JobFile, table_of
from tests.unit.node.parties import NODES, Consortium
from tests.unit.node.site import Site, SiteMaker

JOB, OTHER = Digest("ab" * 32), Digest("cd" * 32)


# --- the data room ------------------------------------------------------------------------------------


@pytest.fixture
def own(sites: SiteMaker) -> Site:
    return sites.with_own_data()


def test_a_table_is_loaded_once_until_its_file_changes(own: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []

    def counted(path: Path, schema: DatasetSchema) -> LocalData:
        loads.append(path)
        return load_dataset(path, schema)

    monkeypatch.setattr("fedseal.node.data.load_dataset", counted)
    room = DataRoom(own.database)
    assert room.rows(DATASET).row_count == ROWS
    room.rows(DATASET)
    assert len(loads) == 1
    os.utime(own.data, (1, 1))
    room.rows(DATASET)
    assert len(loads) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table_of("cleveland", ROWS + 1), "row"),
        (table_of("cleveland")[:-20], ""),
        (table_of("basel"), ""),
        (b"", ""),
        (b"\x00\x01\x02", ""),
        (table_of("cleveland").replace(b"female", b"unknown"), ""),
        (table_of("cleveland").replace(b"age", b"weight"), ""),
    ],
)
def test_what_changed_is_known_here_and_not_told_elsewhere(own: Site, content: bytes, says: str) -> None:
    own.data.write_bytes(content)
    room = DataRoom(own.database)
    drift = room.drift(DATASET, max_rows_changed_percent=0)
    changes = drift.sentences
    assert drift.beyond
    assert changes
    assert says in " ".join(changes)
    with pytest.raises(RefusalError) as caught:
        room.rows(DATASET)
    assert str(own.data) not in str(caught.value)
    assert "has changed since it was registered" in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_change(own: Site) -> None:
    own.data.unlink()
    [change] = DataRoom(own.database).drift(DATASET, max_rows_changed_percent=100).sentences
    assert "cannot be read" in change


def test_a_dataset_that_was_never_registered(own: Site) -> None:
    with pytest.raises(RefusalError, match="lungs"):
        DataRoom(own.database).rows("lungs")


def test_a_change_takes_effect_at_the_next_use(own: Site) -> None:
    """The cached table is not served once its file is another one, even of the same size and time."""
    room = DataRoom(own.database)
    room.rows(DATASET)
    before = own.data.stat()
    text = own.data.read_text()
    replacement = own.data.with_suffix(".new")
    replacement.write_text(text.replace("TRUE", "true", 1).replace("FALSE", "TRUE ", 1))
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(own.data)
    with pytest.raises(RefusalError):
        room.rows(DATASET)


# --- local state --------------------------------------------------------------------------------------


@pytest.fixture
def states(tmp_path: Path) -> LocalStates:
    return LocalStates(tmp_path / "state")


def one(value: float) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return {"residual": np.array([value])}


def value_of(states: LocalStates, job: str = JOB) -> float | None:
    state = states.get(job)
    return float(state["residual"][0]) if state else None


def test_a_staged_state_counts_when_the_round_does(states: LocalStates) -> None:
    assert value_of(states) is None
    states.stage(JOB, one(1.0))
    assert value_of(states) is None
    states.settle(JOB, keep=True)
    assert value_of(states) == 1.0
    states.stage(JOB, one(2.0))
    states.settle(JOB, keep=False)
    assert value_of(states) == 1.0
    states.settle(JOB, keep=True)
    assert value_of(states) == 1.0


def test_each_job_has_its_own(states: LocalStates) -> None:
    for job, value in ((JOB, 1.0), (OTHER, 2.0)):
        states.stage(job, one(value))
        states.settle(job, keep=True)
    states.forget(JOB)
    states.forget(JOB)
    assert (value_of(states, JOB), value_of(states, OTHER)) == (None, 2.0)


def test_it_is_private(states: LocalStates, tmp_path: Path) -> None:
    states.stage(JOB, one(1.0))
    for path in (tmp_path / "state").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize(
    ("completed", "survivors", "kept"),
    [(True, NODES, True), (False, NODES, False), (True, [name for name in NODES if name != "cleveland"], False)],
)
def test_the_end_of_a_round_decides(
    coordinator: Coordinator, completed: bool, survivors: tuple[str, ...], kept: bool
) -> None:
    """Only a round that completed with this node in the sum moves its state on."""
    site, job = coordinator.site, coordinator.job.digest
    attempt = coordinator.attempt()
    attempt.begin()
    site.me.local_states.stage(job, one(1.0))
    attempt.end(completed=completed, survivors=survivors)
    assert value_of(site.me.local_states, job) == (1.0 if kept else None)


def test_the_end_of_another_attempt_decides_nothing(coordinator: Coordinator) -> None:
    site, job = coordinator.site, coordinator.job.digest
    coordinator.attempt(0).begin()
    site.me.local_states.stage(job, one(1.0))
    coordinator.attempt(1).end(completed=True, survivors=NODES)
    assert value_of(site.me.local_states, job) is None
    coordinator.attempt(0).end(completed=True, survivors=NODES)
    assert value_of(site.me.local_states, job) == 1.0


def test_a_refusal_drops_what_was_staged(coordinator: Coordinator) -> None:
    site, job = coordinator.site, coordinator.job.digest
    attempt = coordinator.attempt()
    attempt.begin()
    site.me.local_states.stage(job, one(1.0))
    attempt.instruct(b"nonsense")
    attempt.end(completed=True, survivors=NODES)
    assert value_of(site.me.local_states, job) is None


def test_the_end_of_a_job_removes_it(coordinator: Coordinator, consortium: Consortium) -> None:
    site, job = coordinator.site, coordinator.job.digest
    site.me.local_states.stage(job, one(1.0))
    site.me.local_states.settle(job, keep=True)
    other = Coordinator(site, JobFile(name="other", seed=4).signed(consortium))
    assert other.offer().accepted
    other.end()
    assert value_of(site.me.local_states, job) == 1.0
    coordinator.end()
    assert value_of(site.me.local_states, job) is None
