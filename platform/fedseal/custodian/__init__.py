"""The custodian: holds the decryption key of a job, opens sums of it and nothing else, and calls outwards only.

Start reading with ``opening`` (what is checked before a sum is opened) and ``keeper`` (what answers what).
"""

from fedseal.custodian.run import run_custodian

__all__ = ["run_custodian"]
