"""Runs a file of example jobs against a policy."""

from pathlib import Path

from fedseal.errors import SetupError
from fedseal.files import read_limited
from fedseal.installed import method_levels
from fedseal_governance.documents import MAX_BYTES
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.policy import load_policy
from fedseal_governance.policy.cases import Outcome, judge_case, load_cases


def run_cases(file: Path, policy: Path | None) -> tuple[Outcome, ...]:
    """What the policy says to every example, in the order of the file.

    Args:
        file: the examples.
        policy: the policy file; None for the one that ``file`` names.

    Raises:
        DocumentError: one of the files is wrong.
        SetupError: a file is missing, or no policy is named.
    """
    cases = load_cases(read_limited(file, max_bytes=MAX_BYTES, what="a file of cases"), str(file))
    if policy is None:
        if cases.policy is None:
            raise SetupError(f"{file} names no policy; add `policy: FILE` to it or give --policy FILE.")
        policy = file.parent / cases.policy
    rules = load_policy(read_limited(policy, max_bytes=MAX_BYTES, what="a policy file"), str(policy))
    jobs: dict[str, JobDocument] = {}
    levels = method_levels()
    outcomes = []
    for case in cases.cases:
        if case.job not in jobs:
            path = file.parent / case.job
            jobs[case.job] = load_job(read_limited(path, max_bytes=MAX_BYTES, what="a job file"), str(path))
        outcomes.append(judge_case(case, jobs[case.job], rules, today=cases.today, discloses=levels))
    return tuple(outcomes)
