"""Held-out patients: right share of each class, the same everywhere, unmoved when others withdraw."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedseal.learning import LocalData, job_data
from fedseal.learning.split import held_out_rows
from fedseal_governance.jobs import Evaluation, JobDocument, Weights


@given(ill=st.integers(0, 60), well=st.integers(0, 60), share=st.floats(0.05, 0.9), seed=st.integers(0, 2**53 - 1))
def test_each_class_gives_its_share(ill: int, well: int, share: float, seed: int) -> None:
    records = tuple(f"r{number}" for number in range(ill + well))
    labels = np.array([1.0] * ill + [0.0] * well)
    chosen = held_out_rows(records, labels, share=share, seed=seed)
    assert int(chosen[labels == 1].sum()) == round(share * ill)
    assert int(chosen[labels == 0].sum()) == round(share * well)


def test_membership_does_not_depend_on_the_order_of_rows() -> None:
    records = tuple(f"r{number}" for number in range(40))
    labels = np.array([0.0, 1.0] * 20)
    chosen = held_out_rows(records, labels, share=0.3, seed=7)
    turned = held_out_rows(records[::-1], labels[::-1], share=0.3, seed=7)
    assert (turned[::-1] == chosen).all()
    assert (held_out_rows(records, labels, share=0.3, seed=8) != chosen).any()


def test_a_withdrawal_moves_no_other_patient(hospitals: dict[str, LocalData], heart_job: JobDocument) -> None:
    data = hospitals["hungary"]
    before = job_data(data, heart_job, data.record_ids)
    for gone in (before.training.record_ids[0], before.held_out.record_ids[0]):
        after = job_data(data, heart_job, set(data.record_ids) - {gone})
        assert set(before.training.record_ids) - set(after.training.record_ids) <= {gone}
        assert set(before.held_out.record_ids) - set(after.held_out.record_ids) <= {gone}
        assert after.record_count == before.record_count - 1
        assert gone not in after.record_ids


def test_no_consent_filter_means_all_rows(hospitals: dict[str, LocalData], heart_job: JobDocument) -> None:
    parts = job_data(hospitals["cleveland"], heart_job, None)
    assert parts.record_count == 304
    assert set(parts.training.record_ids).isdisjoint(parts.held_out.record_ids)
    assert parts.held_out.row_count == round(0.3 * 165) + round(0.3 * 139)


def test_rows_above_the_public_maximum_are_left_out(hospitals: dict[str, LocalData], heart_job: JobDocument) -> None:
    capped = heart_job.model_copy(update={"weights": Weights(maximum_rows=50)})
    parts = job_data(hospitals["cleveland"], capped, None)
    assert parts.training.row_count == 50
    assert parts.held_out.row_count == 50
    assert parts.record_ids == job_data(hospitals["cleveland"], capped, None).record_ids


def test_different_evaluation_seeds_hold_out_different_patients(
    hospitals: dict[str, LocalData], heart_job: JobDocument
) -> None:
    held_out = set()
    for seed in range(4):
        salted = heart_job.model_copy(update={"evaluation": Evaluation(holdout=0.3, seed=seed)})
        held_out.add(job_data(hospitals["cleveland"], salted, None).held_out.record_ids)
    assert len(held_out) == 4
