"""The demonstration with another method: everybody who must allow it does."""

import pytest

from fedseal_cli.demonstration.adapting import changed_files
from fedseal_cli.demonstration.setting import HOSPITALS
from fedseal_governance.jobs import load_job
from fedseal_governance.policy import load_policy
from tests.system.founding import EXAMPLES


@pytest.mark.parametrize("method", ["lockdown", "evofed"])
def test_hospitals_and_custodian_allow_the_chosen_method(method: str) -> None:
    files = changed_files(EXAMPLES, tuple(HOSPITALS), method)
    job = load_job(files.pop("job.yaml"), "job.yaml")
    assert job.method is not None
    assert job.method.name == method
    assert set(files) == {f"policy-{owner}.yaml" for owner in (*HOSPITALS, "custodian")}
    for name, content in files.items():
        assert method in load_policy(content, name).jobs.methods
