"""Every job leaves a record that verifies offline, and a model is held against it, however the job ended."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal_governance.records import Refusal
from tests.unit.report.telling import Scenario, Teller, found_teller

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

REFUSAL: dict[str, tuple[Refusal, ...]] = {"hungary": (Refusal(clause="purposes", sentence="Not for this purpose."),)}
OUTCOMES = {
    "finished": Scenario(),
    "failed": Scenario(state="failed", reason="three attempts failed", model=None),
    "stopped": Scenario(state="stopped", reason="on request", model=None),
    "refused": Scenario(state="refused", reason="3 of 4 accepted", rounds=(), refusals=REFUSAL, model=None),
}


@pytest.fixture(scope="module")
def teller() -> Teller:
    return found_teller()


@pytest.mark.parametrize("state", OUTCOMES)
def test_the_record_of_each_outcome_verifies_and_says_which(state: str, teller: Teller, shell: "Shell") -> None:
    Path("root.pem").write_bytes(teller.authority.certificate_pem)
    record = teller.tell(OUTCOMES[state]).job_record
    Path("record.json").write_bytes(record)
    told = shell.json("record", "verify", "record.json", "--root", "root.pem")
    assert (told["verified"], told["state"], told["reason"]) == (True, state, OUTCOMES[state].reason)
    assert (told["model"] is not None) is (state == "finished")
    shown = shell.ok("record", "verify", "record.json", "--root", "root.pem").stdout
    assert state in shown
    assert ("refused by hungary" in shown) is (state == "refused")
    Path("record.json").write_bytes(record.replace(b'"sig":"', b'"sig":"AAAA', 1))
    shell.fails(1, "record", "verify", "record.json", "--root", "root.pem")
    Path("record.json").write_bytes(record)
    Path("root.pem").write_bytes(found_teller().authority.certificate_pem)
    shell.fails(1, "record", "verify", "record.json", "--root", "root.pem")
