"""A job from submission to model, with nothing going wrong: what all other tests here disturb."""

import pytest

from tests.system.federation import Federation

pytestmark = pytest.mark.system


def test_a_small_job_finishes(federation: Federation) -> None:
    detail = federation.run()
    print(detail.summary)
    print(federation.output)
    assert detail.summary.state == "finished"
    federation.assert_no_traceback()
