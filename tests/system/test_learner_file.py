"""A data scientist's file trains in a real federation once every party has admitted it, and only the approved one."""

from pathlib import Path

import pytest

from fedseal.learning.sandbox import LearnerFiles
from fedseal.wire.status import CallRefused
from fedseal_crypto.digests import sha256_hex
from tests.system import founding
from tests.system.federation import Federation, SmallJob
from tests.system.founding import NODES

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

FILE = Path(__file__).parents[2] / "examples" / "learners" / "own_module.py"
DIGEST = sha256_hex(FILE.read_bytes())


def job(name: str, digest: str) -> SmallJob:
    learner = f"{{name: python-file, settings: {{file: {digest}, learning_rate: 0.1}}}}"
    return SmallJob(name=name, learner=learner, rounds=1, step_seconds=120)


def test_an_admitted_file_trains_and_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = founding.policy_for
    before = "  learners: [tabular-mlp, logistic-regression]"
    after = f"  learners: [python-file]\n  learner_digests: {{python-file: {DIGEST}}}"
    monkeypatch.setattr(founding, "policy_for", lambda node: original(node, {before: after}))
    folder = tmp_path / "federation"
    founding.found(folder)
    for party in (*NODES, "coordinator"):
        assert LearnerFiles.of_party(folder / party).admit(FILE) == DIGEST
    federation = Federation.of_folder(folder)
    try:
        federation.start()
        # every training and prediction starts a process that imports torch
        detail = federation.wait_ended(federation.submit(job("own-file", DIGEST)), seconds=400)
        assert detail.summary.state == "finished", detail.summary.reason
        with pytest.raises(CallRefused, match="not the one that was approved"):
            federation.submit(job("other-file", "ab" * 32))
    finally:
        federation.stop()
    federation.assert_no_traceback()
