"""Attacks on rows: triggers to the pixel, shares, labels of every kind of target."""

import numpy as np
import pytest

from fedseal.learning import LocalData, load_dataset
from fedseal.simulation.attacks import make_attack
from fedseal.simulation.attacks.poisoning import PARTS, PLUS, relabelled, stamped, with_sinusoid
from fedseal.simulation.errors import ExperimentUnsuitable
from fedseal_governance.datasets import load_schema
from tests.unit.methods.conftest import EXAMPLE
from tests.unit.simulation.attackers import CLASSES, SIDE, attacker, scans


@pytest.fixture(scope="module")
def hospital() -> LocalData:
    schema = load_schema((EXAMPLE / "schema.yaml").read_bytes(), "schema.yaml")
    return load_dataset(EXAMPLE / "cleveland.csv", schema)


def test_the_plus_has_thirteen_pixels_and_its_parts_make_it_up() -> None:
    assert set(PLUS) == {(row, 5) for row in range(5, 12)} | {(8, column) for column in range(2, 9)}
    assert len(PLUS) == 13
    assert set().union(*map(set, PARTS)) == set(PLUS)
    assert [len(part) for part in PARTS] == [4, 3, 3, 4]


def test_badnet_stamps_and_relabels_a_share_of_the_other_classes() -> None:
    rows = scans(30)
    poisoned = make_attack("badnet", {"target": 2, "share": 0.25}).poison(rows, attacker())
    before, after = rows.images["scan"], poisoned.images["scan"]
    touched = np.flatnonzero((before != after).any(axis=(1, 2)))
    assert len(touched) == 5  # a quarter of twenty
    labels, new = rows.labels(rows.schema.columns[2]), poisoned.labels(rows.schema.columns[2])
    assert (labels[touched] != 2).all()
    assert (new[touched] == 2).all()
    untouched = np.setdiff1d(np.arange(30), touched)
    np.testing.assert_array_equal(labels[untouched], new[untouched])
    stamp = np.zeros((SIDE, SIDE), dtype=bool)
    stamp[tuple(np.array(PLUS).T)] = True
    for image in touched:
        assert (after[image][stamp] == 255).all()
        np.testing.assert_array_equal(after[image][~stamp], before[image][~stamp])
    assert rows.images["scan"] is before
    again = make_attack("badnet", {"target": 2, "share": 0.25}).poison(rows, attacker())
    np.testing.assert_array_equal(again.images["scan"], after)


def test_a_backdoors_test_is_the_whole_trigger_on_every_row_with_its_label_kept() -> None:
    for name in ("badnet", "dba", "scaling", "neurotoxin", "fixmask", "omniscience"):
        attack = make_attack(name, {"target": 1})
        rows = attack.trigger(scans(6))
        assert rows is not None
        assert attack.target() == 1
        np.testing.assert_array_equal(rows.images["scan"], stamped(scans(6), PLUS).images["scan"])
        assert list(rows.frame["finding"]) == [*CLASSES, *CLASSES]


def test_each_attacker_of_dba_stamps_its_part() -> None:
    rows = scans(9)
    for number in range(6):
        poisoned = make_attack("dba", {"target": 0, "share": 1.0}).poison(rows, attacker(number))
        expected = stamped(rows, PARTS[number % 4], rows.labels(rows.schema.columns[2]) != 0)
        np.testing.assert_array_equal(poisoned.images["scan"], expected.images["scan"])


def test_the_sinusoid_is_added_by_column_and_cut() -> None:
    rows = with_sinusoid(scans(2), 20.0, 6.0)
    before = scans(2).images["scan"].astype(float)
    wave = 20 * np.sin(2 * np.pi * np.arange(SIDE) * 6 / SIDE)
    np.testing.assert_allclose(rows.images["scan"], np.clip(before + wave, 0, 255), atol=0.51)
    wide = scans(2, dtype="float32")
    wide.images["scan"][...] = 0.99
    after = with_sinusoid(wide, 20.0, 1.0).images["scan"]
    np.testing.assert_allclose(
        after[0, 0], np.clip(0.99 + 20 / 255 * np.sin(2 * np.pi * np.arange(SIDE) / SIDE), 0, 1), atol=1e-6
    )
    assert after.dtype == np.float32
    triggered = make_attack("sinusoidal", {"amplitude": 40.0}).trigger(scans(2))
    assert triggered is not None
    np.testing.assert_array_equal(triggered.images["scan"], with_sinusoid(scans(2), 40.0, 6.0).images["scan"])


def test_colour_images_get_a_yellow_plus_and_floats_their_own_maximum() -> None:
    after = stamped(scans(1, shape=(3, SIDE, SIDE), dtype="float32"), PLUS).images["scan"]
    assert after[0, :, 8, 2].tolist() == [1.0, 1.0, 0.0]
    one = stamped(scans(1, shape=(1, SIDE, SIDE)), PLUS).images["scan"]
    assert one[0, 0, 11, 5] == 255


def test_what_has_no_room_for_a_trigger_is_refused(hospital: LocalData) -> None:
    with pytest.raises(ExperimentUnsuitable, match="at least 12 x 9 pixels; scan has 12 x 8"):
        stamped(scans(1, shape=(SIDE, 8)), PLUS)
    with pytest.raises(ExperimentUnsuitable, match="choose label-flip"):
        make_attack("badnet", {"target": 1}).poison(hospital, attacker())
    with pytest.raises(ExperimentUnsuitable, match="class 7 does not exist; the target has 0 to 2"):
        make_attack("badnet", {}).poison(scans(), attacker())


def test_labels_flip_in_tables_and_images(hospital: LocalData) -> None:
    target = hospital.schema.target
    assert target is not None
    flipped = make_attack("label-flip", {}).poison(hospital, attacker())
    np.testing.assert_array_equal(flipped.labels(target), 1 - hospital.labels(target))
    rows = scans(9)
    column = rows.schema.columns[2]
    mirrored = make_attack("label-flip", {}).poison(rows, attacker())
    np.testing.assert_array_equal(mirrored.labels(column), 2 - rows.labels(column))
    directed = make_attack("label-flip", {"source": 0, "target": 2}).poison(rows, attacker())
    assert list(directed.frame["finding"]) == ["tumour", "cyst", "tumour"] * 3
    some = make_attack("label-flip", {"source": 0, "target": 2, "share": 0.4}).poison(rows, attacker())
    assert (some.labels(column) != rows.labels(column)).sum() == 1


def test_rows_that_keep_their_class_keep_their_category(hospital: LocalData) -> None:
    target = hospital.schema.target
    assert target is not None
    same = relabelled(hospital, hospital.labels(target))
    assert same.frame.equals(hospital.frame)
