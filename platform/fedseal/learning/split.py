"""Which rows of a node a job uses: held-out split, consent, and the public maximum of rows.

Rules this module keeps:
- The split is computed on the whole registered dataset, before consent: when a patient withdraws, no other
  patient moves from held-out to training, so nothing that was tested on is ever trained on.
- Membership depends only on the job's evaluation seed, the record id, the label and the other records of the
  node.
- A node never uses more rows than the job's public maximum, since that maximum bounds what is summed.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedseal.learning.data import LocalData
from fedseal_governance.jobs import JobDocument

_SPLIT_TAG = b"fedseal.holdout.v1"
_CAP_TAG = b"fedseal.rowcap.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobData:
    """The rows of one node that one job may use now."""

    training: LocalData
    held_out: LocalData

    @property
    def record_count(self) -> int:
        """Rows used, for training and for evaluation."""
        return self.training.row_count + self.held_out.row_count

    @property
    def record_ids(self) -> tuple[str, ...]:
        """Records used, sorted."""
        return tuple(sorted(self.training.record_ids + self.held_out.record_ids))


def job_data(data: LocalData, job: JobDocument, consented: Collection[str] | None) -> JobData:
    """Choose the rows that a job uses at this node.

    Args:
        data: The whole registered dataset.
        job: Gives target, held-out share and seed, and the maximum of rows.
        consented: Records whose consent for the job's purpose is in force now; None where the policy does not
            ask for consent.
    """
    held_out = _held_out_rows(data, job)
    parts = []
    for chosen in (~held_out, held_out):
        part = data.rows(chosen)
        if consented is not None:
            part = part.restrict(consented)
        parts.append(_at_most(part, job.weights.maximum_rows, job.seed))
    return JobData(training=parts[0], held_out=parts[1])


def held_out_rows(
    record_ids: tuple[str, ...], labels: NDArray[np.float64], *, share: float, seed: int
) -> NDArray[np.bool_]:
    """Deterministic stratified split: of each class, the ``share`` of records with the smallest salted hash.

    Args:
        record_ids: One per row.
        labels: Class of each row, shape (rows,).
        share: 0 <= share < 1; round(share x class size) rows of each class are held out.
        seed: The salt, the same at every node.

    Returns:
        True where held out, shape (rows,).
    """
    rank = _salted_order(record_ids, _SPLIT_TAG, seed)
    chosen = np.zeros(len(record_ids), dtype=bool)
    for label in np.unique(labels):
        members = rank[labels[rank] == label]
        chosen[members[: round(share * len(members))]] = True
    return chosen


def _held_out_rows(data: LocalData, job: JobDocument) -> NDArray[np.bool_]:
    if job.target is None or job.evaluation is None:
        return np.zeros(data.row_count, dtype=bool)
    labels = data.labels(data.schema.column(job.target))
    return held_out_rows(data.record_ids, labels, share=job.evaluation.holdout, seed=job.evaluation.seed)


def _at_most(data: LocalData, maximum: int, seed: int) -> LocalData:
    if data.row_count <= maximum:
        return data
    chosen = np.zeros(data.row_count, dtype=bool)
    chosen[_salted_order(data.record_ids, _CAP_TAG, seed)[:maximum]] = True
    return data.rows(chosen)


def _salted_order(record_ids: tuple[str, ...], tag: bytes, seed: int) -> NDArray[np.intp]:
    salt = tag + b"\0" + str(seed).encode() + b"\0"
    hashes = [hashlib.sha256(salt + record.encode()).digest() for record in record_ids]
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.intp)
