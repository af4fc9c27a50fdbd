"""fedseal: governed federated learning under secure sums.

This package is what a data scientist or an operator imports: methods, learners, the coordinator and the
node. Cryptography lives in ``fedseal_crypto`` and rules and evidence in ``fedseal_governance``.
"""

import sys

__version__ = "0.1.0"

if "grpc" not in sys.modules:
    import fedseal.wire  # noqa: F401 - chooses the TLS suites, which must happen before anything imports grpc
