"""fedseal: governed federated learning under secure sums.

This package is what a data scientist or an operator imports: methods, learners, the coordinator and the
node. Cryptography lives in ``fedseal_crypto`` and rules and evidence in ``fedseal_governance``.
"""

__version__ = "0.1.0"
