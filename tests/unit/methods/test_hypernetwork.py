"""The hypernetwork's gradients against automatic differentiation, and the divergence against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedseal.methods.hypernetwork import HIGHEST, Hypernetwork, SharedRates
from fedseal.methods.variational import (
    Layer,
    divergence,
    divergence_gradient,
    dropout_rates,
    regularised,
    shortened,
    warmed,
)

NETWORK = Hypernetwork(embedding=3, hidden=7, outputs=11)


def torch_log_variances(psi: dict[str, torch.Tensor], embedding: torch.Tensor) -> torch.Tensor:
    """The same network from torch's own parts."""
    value = embedding
    for index in range(4):
        value = torch.nn.functional.linear(value, psi[f"layer{index}.weight"], psi[f"layer{index}.bias"])
        value = torch.nn.functional.leaky_relu(value, 0.1) if index < 3 else value
    return torch.clamp(value, -HIGHEST, HIGHEST) - HIGHEST


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_gradients_are_those_of_automatic_differentiation(scale: float) -> None:
    """At scale 30 many outputs are beyond the clamp, and these get no gradient."""
    generator = np.random.default_rng(4)
    psi = {name: scale**0.25 * 2 * value for name, value in NETWORK.initial(3).items()}
    embedding, direction = generator.normal(size=3) * scale, generator.normal(size=11)
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in psi.items()}
    own = torch.tensor(embedding, requires_grad=True)
    output = torch_log_variances(tensors, own)
    output.backward(torch.tensor(direction))  # type: ignore[no-untyped-call]  # torch leaves this one untyped
    np.testing.assert_allclose(NETWORK.log_variances(psi, embedding), output.detach().numpy(), atol=1e-12)
    gradients, back = NETWORK.pulled_back(psi, embedding, direction)
    assert gradients.keys() == NETWORK.shapes.keys()
    for name, value in gradients.items():
        expected = tensors[name].grad
        assert expected is not None
        np.testing.assert_allclose(value, expected.numpy(), atol=1e-10)
    assert own.grad is not None
    np.testing.assert_allclose(back, own.grad.numpy(), atol=1e-10)
    beyond = np.abs(gradients["layer3.bias"]) == 0
    assert bool(beyond.any()) is (scale > 1)


def test_at_the_start_rates_are_about_the_least() -> None:
    start = NETWORK.log_variances(NETWORK.initial(1), np.random.default_rng(1).normal(size=3))
    np.testing.assert_allclose(start, -HIGHEST, atol=1)
    shared = SharedRates(outputs=5)
    np.testing.assert_array_equal(shared.log_variances(shared.initial(1), np.zeros(0)), np.full(5, -HIGHEST))
    gradients, own = shared.pulled_back({"rates": np.array([0, 9, -9, 1, 2.0])}, np.zeros(0), np.ones(5))
    np.testing.assert_array_equal(gradients["rates"], [1, 0, 0, 1, 1])
    assert own.size == 0


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(-12, 12))
def test_the_divergence_is_the_log_of_one_and_one_over_alpha(theta: list[float], log_variance: float) -> None:
    means, logs = np.array(theta), np.full(len(theta), log_variance)
    held = torch.tensor(means)
    free = torch.tensor(logs, requires_grad=True)
    variance = torch.exp(torch.clamp(free, -HIGHEST, HIGHEST))
    expected = (0.5 * torch.log1p(held**2 / variance)).mean()
    assert divergence(means, logs) == pytest.approx(float(expected.detach()), abs=1e-12)
    expected.backward()  # type: ignore[no-untyped-call]  # torch leaves this one untyped
    assert free.grad is not None
    np.testing.assert_allclose(divergence_gradient(means, logs), free.grad.numpy(), atol=1e-12)
    for value, rate in zip(theta, dropout_rates(means, logs), strict=True):
        alpha = float(variance[0].detach()) / value**2 if abs(value) > 1e-9 else float("inf")
        assert rate == pytest.approx(1 / (1 + 1 / alpha))


def test_beta_warms_up_by_a_sigmoid() -> None:
    assert warmed(10, 0, 2) == pytest.approx(10 / (1 + np.exp(6)))
    assert warmed(10, 1, 2) == pytest.approx(5)
    assert warmed(10, 2, 2) == warmed(10, 99, 2) == warmed(10, 0, 0) == pytest.approx(10 / (1 + np.exp(-6)))


def test_a_steps_gradients_are_shortened_together_after_decay_and_divergence() -> None:
    layer = Layer(weight="w", log_variance="v")
    parameters = {"w": np.array([3.0], np.float32), "v": np.array([-8.5], np.float32), "b": np.array([1.0], np.float32)}
    gradients = {name: np.full(1, 2, np.float32) for name in parameters}
    regularised(layer, beta=4.0, decay=0.5, longest=0)(parameters, gradients)
    slope = 4.0 * -0.5 * 9 / (9 + np.exp(-8.5))
    assert [float(gradients[name][0]) for name in "wvb"] == pytest.approx([3.5, 2 + slope, 2.5], abs=1e-5)
    long = {"a": np.array([3.0], np.float32), "b": np.array([4.0], np.float32)}
    shortened(1.0)({}, long)
    assert [float(long["a"][0]), float(long["b"][0])] == pytest.approx([0.6, 0.8])
    shortened(5.0)({}, long)
    assert float(long["a"][0]) == pytest.approx(0.6)
