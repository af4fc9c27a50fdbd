"""What the parties of a job under a custodian's key must agree on: layout, key statement, statement of a sum.

Used by coordinator, node and custodian alike, so that each computes the same from the signed job. It leaves out
who sends what when (`fedseal_crypto.custody`) and encryption itself (`fedseal_crypto.homomorphic`).
"""

from fedseal.protection.disclosure import protection_quantities, protection_sentence
from fedseal.protection.layouts import RoundLayout, job_parameters, round_layout
from fedseal.protection.statements import (
    KEY_TYPE,
    SUM_TYPE,
    JobKey,
    Judge,
    OpenedSum,
    ScalarKey,
    read_key_statement,
    read_sum_statement,
    sign_key_statement,
    sign_sum_statement,
)

__all__ = [
    "KEY_TYPE",
    "SUM_TYPE",
    "JobKey",
    "Judge",
    "OpenedSum",
    "RoundLayout",
    "ScalarKey",
    "job_parameters",
    "protection_quantities",
    "protection_sentence",
    "read_key_statement",
    "read_sum_statement",
    "round_layout",
    "sign_key_statement",
    "sign_sum_statement",
]
