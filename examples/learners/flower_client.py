"""A Flower client in the form of Flower's PyTorch quickstart, unmodified, and the one function that fedseal asks for.

`FlowerClient` uses Flower's documented interface only; what is new is `client`, which gives it a site's rows.
"""

from collections import OrderedDict
from typing import Any

import torch
from flwr.client import NumPyClient
from torch.utils.data import DataLoader, TensorDataset


class FlowerClient(NumPyClient):  # type: ignore[misc]  # Flower is not among our own dependencies
    """Trains and evaluates a network on its own data."""

    def __init__(self, net: torch.nn.Module, trainloader: Any, valloader: Any) -> None:
        self.net = net
        self.trainloader = trainloader
        self.valloader = valloader

    def get_parameters(self, config: dict[str, Any]) -> list[Any]:
        """The network's weights as NumPy arrays."""
        return [value.cpu().numpy() for _, value in self.net.state_dict().items()]

    def set_parameters(self, parameters: list[Any]) -> None:
        """Load weights."""
        pairs = zip(self.net.state_dict().keys(), parameters, strict=True)
        self.net.load_state_dict(OrderedDict({key: torch.tensor(value) for key, value in pairs}), strict=True)

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Train from the given weights."""
        self.set_parameters(parameters)
        optimiser = torch.optim.SGD(self.net.parameters(), lr=config["learning_rate"])
        total = 0.0
        for _ in range(config["local_epochs"]):
            for rows, labels in self.trainloader:
                optimiser.zero_grad()
                loss = torch.nn.functional.cross_entropy(self.net(rows), labels)
                loss.backward()
                optimiser.step()
                total += float(loss) * len(labels)
        count = len(self.trainloader.dataset)
        return self.get_parameters({}), count, {"train_loss": total / (count * config["local_epochs"])}

    def evaluate(self, parameters: list[Any], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Loss and accuracy of the given weights."""
        self.set_parameters(parameters)
        total, correct = 0.0, 0
        with torch.no_grad():
            for rows, labels in self.valloader:
                outputs = self.net(rows)
                total += float(torch.nn.functional.cross_entropy(outputs, labels, reduction="sum"))
                correct += int((outputs.argmax(1) == labels).sum())
        count = len(self.valloader.dataset)
        return total / count, count, {"accuracy": correct / count}


def client(inputs: Any, labels: Any) -> FlowerClient:
    """The client for a site's rows."""
    data = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(labels).long())
    generator = torch.Generator().manual_seed(torch.initial_seed())
    net = torch.nn.Sequential(torch.nn.Linear(inputs.shape[1], 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    return FlowerClient(
        net, DataLoader(data, batch_size=32, shuffle=True, generator=generator), DataLoader(data, batch_size=256)
    )
