"""A data scientist's file trains like a built-in learner, sees no network and no keys, and cannot speak out of turn."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedseal.errors import PlatformError, RefusalError, SetupError
from fedseal.learning import Examples, FitRequest, Learner, TrainingFailed, make_learner
from fedseal.learning.plugins import choice_digest
from fedseal.learning.sandbox import LearnerFiles, Limits, files, frames, use_learner_files
from fedseal_governance.jobs import LearnerChoice

GOOD = """
import torch

def module(inputs, outputs):
    return torch.nn.Sequential(torch.nn.Linear(inputs, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, outputs))

def loss(outputs, labels):
    return torch.nn.functional.binary_cross_entropy_with_logits(outputs.squeeze(1), labels)

def loader(inputs, labels, batch_size, generator):
    for chosen in torch.randperm(len(labels), generator=generator).split(batch_size):
        if len(chosen) > 1:
            yield inputs[chosen], labels[chosen]
"""
LINEAR = "import torch\ndef module(inputs, outputs):\n    return torch.nn.Linear(inputs, outputs)\n"


@pytest.fixture
def party(tmp_path: Path) -> Iterator[LearnerFiles]:
    (tmp_path / "identity.pem").write_text("secret")
    made = LearnerFiles.of_party(tmp_path, limits=Limits(seconds=100))
    use_learner_files(made)
    yield made
    files._current.clear()


def learner(party: LearnerFiles, source: str, **settings: object) -> Learner:
    file = party.hidden[0] / "given.py"
    file.write_text(source)
    return make_learner("python-file", {"file": party.admit(file), "learning_rate": 0.1, **settings})


def rows(count: int = 40) -> Examples:
    generator = np.random.default_rng(1)
    inputs = generator.standard_normal((count, 4)).astype(np.float32)
    return Examples(inputs=inputs, labels=(inputs[:, 0] > 0).astype(np.float64))


def request(chosen: Learner, **more: object) -> FitRequest:
    start = chosen.initial_parameters(4, 7)
    return FitRequest(parameters=start, examples=rows(), epochs=3, seed=5, **more)  # type: ignore[arg-type]  # by name


def test_it_trains_bends_and_predicts_as_a_learner_does(party: LearnerFiles) -> None:
    chosen = learner(party, GOOD)
    roles = chosen.roles(4)
    assert {roles[name].value for name in roles} == {"base", "head", "normalisation", "statistics"}
    steps = []

    def frozen(parameters: object, gradients: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
        steps.append(1)
        for name, gradient in gradients.items():
            if name.startswith("2."):
                gradient[...] = 0.0

    asked = request(chosen, correct_gradients=frozen)
    fitted = chosen.fit(asked)
    assert len(steps) == fitted.steps == 6
    assert np.array_equal(fitted.parameters["2.weight"], asked.parameters["2.weight"]), "the correction held"
    assert not np.array_equal(fitted.parameters["0.weight"], asked.parameters["0.weight"])
    again = chosen.fit(asked)
    assert all(np.array_equal(fitted.parameters[name], again.parameters[name]) for name in roles)
    probabilities = chosen.predict(fitted.parameters, rows().inputs)
    assert probabilities.shape == (40,)


def test_its_default_training_is_that_of_the_built_in_learner(party: LearnerFiles) -> None:
    own, built_in = learner(party, LINEAR), make_learner("logistic-regression", {"learning_rate": 0.1})
    (name,) = [key for key in built_in.parameter_shapes(4) if key.endswith("weight")]
    start = own.initial_parameters(4, 7)
    renamed = {key: start["weight" if key == name else "bias"] for key in built_in.parameter_shapes(4)}
    one = own.fit(FitRequest(parameters=start, examples=rows(), epochs=2, seed=3))
    two = built_in.fit(FitRequest(parameters=renamed, examples=rows(), epochs=2, seed=3))
    assert one.loss == two.loss
    assert np.array_equal(one.parameters["weight"], two.parameters[name])


LOOPBACK = """
import socket
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
socket.create_connection(listening.getsockname(), 1)
"""
OWN_WORDS = """
class PatientHasCancer(Exception):
    pass
raise PatientHasCancer("row 3")
"""
NOT_FINITE = """
import torch
def module(inputs, outputs):
    made = torch.nn.Linear(inputs, outputs)
    made.weight.data[:] = float("nan")
    return made
"""
BAD = {
    "network": ("import socket\nsocket.create_connection(('127.0.0.1', 1), 1)", "OSError"),
    "its own loopback": (LOOPBACK, "OSError"),
    "the party's keys": ("open(FOLDER + '/identity.pem')", "FileNotFoundError"),
    "uncovering": ("import ctypes\nassert ctypes.CDLL(None).umount(FOLDER.encode()) == 0", "AssertionError"),
    "writing": ("open('/tmp/note', 'w').write('x')", "OSError"),
    "environment": ("import os\nassert 'FEDSEAL_TEST_SECRET' in os.environ", "AssertionError"),
    "memory": ("blob = bytearray(1 << 40)", "more memory"),
    "exit": ("import os\nos._exit(0)", "ended with code 0"),
    "nothing": ("x = 1", "does not define"),
    "its own words": (OWN_WORDS, r"raised an error \(its own\)"),
    "no module": ("def module(i, o): return 3", "does not define"),
    "not finite": (NOT_FINITE, "not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_it_must_not_do_ends_it(party: LearnerFiles, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    source, words = BAD[name]
    monkeypatch.setenv("FEDSEAL_TEST_SECRET", "1")
    source = source.replace("FOLDER", repr(str(party.hidden[0])))
    with pytest.raises(TrainingFailed, match=words) as caught:
        learner(party, source).parameter_shapes(4)
    assert "Patient" not in str(caught.value)
    assert "row 3" not in str(caught.value)


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    slow = LearnerFiles.of_party(tmp_path, limits=Limits(seconds=1.0))
    use_learner_files(slow)
    try:
        with pytest.raises(TrainingFailed, match=r"longer than its 1 seconds|ended by signal"):
            learner(slow, "while True: pass").parameter_shapes(4)
    finally:
        files._current.clear()


def test_frames_carry_views_and_refuse_what_is_none() -> None:
    table = np.arange(12, dtype=np.float64).reshape(4, 3)
    data = frames.encode({"a": 1}, {"view": table[:, 1], "turned": table.T})
    whole = io.BytesIO(data)
    message, tensors = frames.decode(whole.read)
    assert message == {"a": 1}
    assert np.array_equal(tensors["view"], table[:, 1])
    assert np.array_equal(tensors["turned"], table.T)
    for wrong in (b"\xff" * 12, data[:12].replace(data[3:4], b"\1") + b"{" * len(data), frames.HEAD.pack(2, 0) + b"[]"):
        with pytest.raises(frames.FrameBroken):
            frames.decode(io.BytesIO(wrong).read)


def test_only_admitted_bytes_run(party: LearnerFiles) -> None:
    stranger = make_learner("python-file", {"file": "ab" * 32})
    with pytest.raises(RefusalError, match="not admitted here"):
        stranger.parameter_shapes(4)
    chosen = learner(party, LINEAR)
    (digest,) = party.admitted()
    assert digest == hashlib.sha256(LINEAR.encode()).hexdigest()
    assert party.folder is not None
    (party.folder / f"{digest}.py").write_text(GOOD)
    with pytest.raises(RefusalError, match="was changed"):
        chosen.parameter_shapes(5)


def test_without_isolation_nothing_runs_unless_the_operator_says_so(
    party: LearnerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be covered stands for a system that refuses a step."""
    source = party.hidden[0] / "given.py"
    source.write_text(LINEAR)
    party.admit(source)
    broken = LearnerFiles(folder=party.folder, hidden=(Path("/nowhere at all"),))
    use_learner_files(broken)
    chosen = make_learner("python-file", {"file": broken.admitted()[0], "batch_size": 17})
    with pytest.raises(SetupError, match=r"no process without network \(mount\).*learner_unisolated"):
        chosen.parameter_shapes(4)
    use_learner_files(LearnerFiles(folder=party.folder, hidden=broken.hidden, unisolated=True))
    assert set(chosen.parameter_shapes(4)) == {"weight", "bias"}


def test_admission_refuses_what_is_no_python(party: LearnerFiles, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def (")
    with pytest.raises(SetupError, match="not a Python file"):
        party.admit(tmp_path / "x.py")
    assert party.admitted() == ()


def test_the_policy_pins_the_file_not_our_code() -> None:
    assert choice_digest(LearnerChoice(name="python-file", settings={"file": "cd" * 32})) == "cd" * 32
    with pytest.raises(PlatformError, match="file"):
        choice_digest(LearnerChoice(name="python-file", settings={}))
