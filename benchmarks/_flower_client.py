"""`make flower-client`: the unmodified Flower client of examples/learners as a learner, with Flower really installed.

Flower lives in an environment of its own (see `_peer_venv`), which borrows everything else from ours.
"""

import sys
import tempfile
from pathlib import Path

import _peer_venv
import numpy as np
import torch

from fedseal.learning import Examples, FitRequest, make_learner
from fedseal.learning.sandbox import LearnerFiles, use_learner_files

PEER = _peer_venv.Peer(name="flower-client", requirements=("flwr==1.41.0", f"numpy=={np.__version__}"))
FILE = Path(__file__).parents[1] / "examples" / "learners" / "flower_client.py"


def main() -> None:
    PEER.install()
    with tempfile.TemporaryDirectory() as folder:
        files = LearnerFiles(folder=Path(folder), python=str(PEER.python))
        digest = files.admit(FILE)
        use_learner_files(files)
        learner = make_learner("python-file", {"file": digest, "learning_rate": 0.1})
        generator = np.random.default_rng(1)
        inputs = generator.standard_normal((200, 5)).astype(np.float32)
        labels = (inputs[:, 0] + 0.5 * inputs[:, 1] > 0).astype(np.float64)
        start = learner.initial_parameters(5, 1)
        request = FitRequest(parameters=start, examples=Examples(inputs=inputs, labels=labels), epochs=20, seed=2)
        fitted = learner.fit(request)
        again = learner.fit(request)
        assert all(np.array_equal(fitted.parameters[name], again.parameters[name]) for name in start), "same seed"
        held = inputs[:40]
        probabilities = learner.predict(fitted.parameters, held)
        accuracy = float(np.mean((probabilities > 0.5) == (labels[:40] > 0.5)))
        first, second, third, last = (torch.from_numpy(fitted.parameters[name]) for name in sorted(start))
        direct = torch.softmax(torch.relu(torch.from_numpy(held) @ first.T + second) @ third.T + last, dim=1)[:, 1]
        apart = float(np.abs(probabilities - direct.numpy()).max())
        print(
            f"tensors {len(start)}, training loss {fitted.loss:.4f}, accuracy {accuracy:.3f}, "
            f"largest difference between evaluate's probabilities and the network's own {apart:.1e}"
        )
        assert accuracy > 0.9
        assert apart < 1e-4


if __name__ == "__main__":
    sys.exit(main())
