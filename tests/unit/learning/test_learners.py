"""What every learner promises, checked on each built-in one, and one step worked by hand."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedseal.learning import (
    Examples,
    FitRequest,
    Learner,
    NamedTensors,
    SettingsRefused,
    TrainingFailed,
    UnknownPlugin,
    learner_class,
    learner_digest,
    learner_names,
    make_learner,
)
from fedseal.learning.logistic_regression import LogisticRegression, LogisticRegressionSettings
from fedseal.learning.tabular_mlp import TabularMlp, TabularMlpSettings

WIDTH = 5
LEARNERS: dict[str, Learner] = {
    "tabular-mlp": TabularMlp(TabularMlpSettings(hidden_layers=2, hidden_width=4)),
    "logistic-regression": LogisticRegression(LogisticRegressionSettings()),
}


@pytest.fixture(params=sorted(LEARNERS))
def learner(request: pytest.FixtureRequest) -> Learner:
    return LEARNERS[str(request.param)]


def some_examples(rows: int = 90) -> Examples:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(rows, WIDTH)).astype(np.float32)
    return Examples(inputs=inputs, labels=(inputs[:, 0] - inputs[:, 1] > 0).astype(np.float64))


def fitting(learner: Learner, epochs: int = 3, seed: int = 1) -> FitRequest:
    return FitRequest(
        parameters=learner.initial_parameters(WIDTH, 0), examples=some_examples(), epochs=epochs, seed=seed
    )


def test_parameters_have_the_promised_shapes(learner: Learner) -> None:
    shapes = learner.parameter_shapes(WIDTH)
    for parameters in (learner.initial_parameters(WIDTH, 3), learner.fit(fitting(learner)).parameters):
        assert {name: value.shape for name, value in parameters.items()} == shapes
        assert all(value.dtype == np.float32 for value in parameters.values())


def test_the_same_request_gives_the_same_bits(learner: Learner) -> None:
    torch.manual_seed(1)
    one = learner.fit(fitting(learner))
    torch.manual_seed(2)
    two = learner.fit(fitting(learner))
    other = learner.fit(fitting(learner, seed=2))
    assert one.loss == two.loss
    assert all((one.parameters[name] == two.parameters[name]).all() for name in one.parameters)
    assert any((one.parameters[name] != other.parameters[name]).any() for name in one.parameters)


def test_torch_global_randomness_is_not_touched(learner: Learner) -> None:
    before = torch.get_rng_state()
    learner.fit(fitting(learner))
    assert torch.equal(before, torch.get_rng_state())


def test_training_learns_and_leaves_its_start_alone(learner: Learner) -> None:
    request = fitting(learner, epochs=120)
    start = {name: value.copy() for name, value in request.parameters.items()}
    result = learner.fit(request)
    assert all((start[name] == request.parameters[name]).all() for name in start)
    assert result.steps == 120 * 3  # 90 rows in batches of 32
    assert result.loss < fitting_loss(learner)
    predicted = learner.predict(result.parameters, request.examples.inputs)
    assert float(((predicted > 0.5) == (request.examples.labels == 1)).mean()) > 0.95


def fitting_loss(learner: Learner) -> float:
    return learner.fit(fitting(learner, epochs=1)).loss


def test_corrections_are_applied_to_every_step(learner: Learner) -> None:
    calls = []

    def freeze(parameters: NamedTensors, gradients: Mapping[str, NDArray[np.float32]]) -> None:
        calls.append(set(parameters))
        for gradient in gradients.values():
            gradient[...] = 0

    request = fitting(learner, epochs=2)
    frozen = FitRequest(
        parameters=request.parameters, examples=request.examples, epochs=2, seed=1, correct_gradients=freeze
    )
    result = learner.fit(frozen)
    assert len(calls) == result.steps
    assert calls[0] == set(learner.parameter_shapes(WIDTH))
    assert all((result.parameters[name] == request.parameters[name]).all() for name in request.parameters)


def test_no_rows_are_refused(learner: Learner) -> None:
    nothing = Examples(inputs=np.zeros((0, WIDTH), np.float32), labels=np.zeros(0))
    request = FitRequest(parameters=learner.initial_parameters(WIDTH, 0), examples=nothing, epochs=1, seed=0)
    with pytest.raises(TrainingFailed, match="no rows"):
        learner.fit(request)
    assert learner.predict(learner.initial_parameters(WIDTH, 0), nothing.inputs).shape == (0,)


def test_divergence_is_refused(learner: Learner) -> None:
    huge = {name: np.full(shape, 3e38, np.float32) for name, shape in learner.parameter_shapes(WIDTH).items()}
    with pytest.raises(TrainingFailed, match="diverged"):
        learner.fit(FitRequest(parameters=huge, examples=some_examples(), epochs=1, seed=0))
    broken = {name: np.full(value.shape, np.nan, np.float32) for name, value in huge.items()}
    with pytest.raises(TrainingFailed, match="not finite"):
        learner.predict(broken, some_examples().inputs)


def test_one_step_of_logistic_regression_by_hand() -> None:
    # One row x = (1, 2), label 1, w = 0, b = 0: probability 1/2, gradient -(1 - 1/2) x. Learning rate 0.4.
    settings = LogisticRegressionSettings(learning_rate=0.4, batch_size=1, weight_decay=0.0)
    examples = Examples(inputs=np.array([[1, 2]], np.float32), labels=np.array([1.0]))
    learner = LogisticRegression(settings)
    result = learner.fit(FitRequest(parameters=learner.initial_parameters(2, 0), examples=examples, epochs=1, seed=0))
    np.testing.assert_allclose(result.parameters["linear.weight"], [[0.2, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(result.parameters["linear.bias"], [0.2], rtol=1e-6)
    assert result.loss == pytest.approx(np.log(2))
    assert (result.steps, result.learning_rate) == (1, 0.4)


def test_weight_decay_pulls_towards_zero() -> None:
    # Two rows whose gradients cancel: only decay moves the weight, 1 - 0.5 * 0.1.
    settings = LogisticRegressionSettings(learning_rate=0.5, batch_size=2, weight_decay=0.1)
    examples = Examples(inputs=np.zeros((2, 1), np.float32), labels=np.array([0.0, 1.0]))
    start = {"linear.weight": np.ones((1, 1), np.float32), "linear.bias": np.zeros(1, np.float32)}
    result = LogisticRegression(settings).fit(FitRequest(parameters=start, examples=examples, epochs=1, seed=0))
    np.testing.assert_allclose(result.parameters["linear.weight"], [[0.95]], rtol=1e-6)


def test_the_installed_learners_are_found_by_name() -> None:
    assert "tabular-mlp" in learner_names()
    assert learner_class("tabular-mlp") is TabularMlp
    assert learner_digest("tabular-mlp") == learner_digest("tabular-mlp")
    assert len(learner_digest("tabular-mlp")) == 64


def test_unknown_names_and_settings_get_a_sentence() -> None:
    with pytest.raises(UnknownPlugin, match='did you mean "tabular-mlp"'):
        make_learner("tabular-mpl", {})
    with pytest.raises(UnknownPlugin, match="installed:"):
        make_learner("zzz", {})
    with pytest.raises(SettingsRefused, match='unknown setting; did you mean "hidden_width"'):
        make_learner("tabular-mlp", {"hiden_width": 3})
    with pytest.raises(SettingsRefused, match='"learning_rate"'):
        make_learner("tabular-mlp", {"learning_rate": -1})
