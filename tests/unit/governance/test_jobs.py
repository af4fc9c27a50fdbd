"""Job files: the two kinds, and each rule with the line and remedy of its refusal."""

from pathlib import Path

import pytest

from fedseal_governance.errors import DocumentError
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.vocabulary import Disclosure, JobKind, Protection

EXAMPLES = Path(__file__).parents[3] / "examples" / "heart-disease"


def test_training_job(training_bytes: bytes) -> None:
    job = load_job(training_bytes, "job.yaml")
    assert (job.kind, job.rounds, job.local_epochs) == (JobKind.TRAINING, 20, 2)
    assert (job.protection, job.disclosure) == (Protection.MASKING, Disclosure.SUM)
    assert job.learner is not None
    assert job.learner.settings == {"hidden_width": 16, "learning_rate": 0.01}
    assert (job.weights.maximum_rows, job.step_timeout_seconds, job.seed) == (10_000, 60, 0)


def test_statistics_job(statistics_bytes: bytes) -> None:
    job = load_job(statistics_bytes, "job.yaml")
    assert (job.method, job.learner, job.target, job.evaluation) == (None, None, None, None)
    assert (job.rounds, job.local_epochs) == (1, None)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("job*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    assert load_job(path.read_bytes(), path.name).dataset == "heart-disease"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            b"minimum_cohort: 3",
            b"minimum_cohort: 2",
            "line 14: with a minimum cohort of 2 a site could learn another's contribution; write 3 or more.",
        ),
        (
            b"minimum_cohort: 3",
            b"minimum_cohort: 5",
            "line 14: the minimum cohort of 5 is more than the 4 nodes asked; ask more nodes or lower it.",
        ),
        (
            b"kind: training",
            b"kind: statistics",
            "line 6: a statistics job has no `method`; remove it, or write `kind: training`.",
        ),
        (b"target: num\n", b"", "a training job needs `target`; add it."),
        (b"target: num", b"target: age", "line 8: the target `age` is also a feature; remove it from the features."),
        (b"[age, sex, chol]", b"[age, sex, age]", "line 8: `features` lists age twice; keep one."),
        (b"hungary,", b"cleveland,", "line 13: `nodes` lists cleveland twice; keep one."),
        (
            b"rounds: 20",
            b"rounds: 0",
            "line 6: `method.rounds` is 0, but it should be greater than or equal to 1; correct the value.",
        ),
        (b"rounds: 20", b"rounds: 10001", "line 6: `method.rounds` is 10001"),
        (b"rounds: 20", b"rounds: true", "line 6: `method.rounds` is true, but a whole number is expected"),
        (b"holdout: 0.3", b"holdout: 1", "line 10: `evaluation.holdout` is 1"),
        (b"hidden_width: 16", b"hidden_width: {a: 16}", "line 7: `learner.settings.hidden_width` is a mapping"),
        (b"job: heart-risk", b"job: Heart Risk", 'line 1: `job` is "Heart Risk"'),
        (
            b"protection: masking",
            b"protection: mask",
            (
                "line 11: `protection` is mask, which is not one of masking, homomorphic, hybrid, none; "
                "did you mean `masking`?"
            ),
        ),
        (b"disclosure: SUM", b"disclosure: sums", "did you mean `SUM`?"),
        (b"version: 1", b"version: 2", "line 2: `version` is 2, which is not one of 1; choose one of 1."),
    ],
)
def test_refusals(training_bytes: bytes, old: bytes, new: bytes, expected: str) -> None:
    assert training_bytes.count(old) == 1
    with pytest.raises(DocumentError) as caught:
        load_job(training_bytes.replace(old, new), "job.yaml")
    assert expected in str(caught.value)


def test_two_nodes_suffice_without_protection(training_bytes: bytes) -> None:
    text = training_bytes.replace(b"protection: masking", b"protection: none")
    text = text.replace(b"minimum_cohort: 3", b"minimum_cohort: 1")
    assert load_job(text, "job.yaml").minimum_cohort == 1


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        (b"{local_epochs: 2}", 2),
        (b"{epochs: 4, local_epochs: 2}", 4),
        (b"{}", None),
        (b"{local_epochs: 2.5}", None),
        (b"{local_epochs: true}", None),
        (b'{local_epochs: "2"}', None),
    ],
)
def test_local_epochs_are_the_largest_that_is_said(training_bytes: bytes, settings: bytes, epochs: int | None) -> None:
    job = load_job(training_bytes.replace(b"{local_epochs: 2}", settings), "job.yaml")
    assert job.local_epochs == epochs


def test_a_job_cannot_be_changed(training_bytes: bytes) -> None:
    job = load_job(training_bytes, "job.yaml")
    with pytest.raises(ValueError, match="frozen"):
        job.seed = 2
    assert isinstance(job, JobDocument)
