"""A running service says in its log which dates come near: at the start, and then once a day."""

from datetime import datetime, timedelta

from structlog.testing import capture_logs

from fedseal.deadlines import CERTIFICATE_NOTICE, DailyReminder
from fedseal_crypto.certificates import Revocations
from tests.unit.node.parties import NODES, Consortium


def _list(consortium: Consortium, now: datetime) -> Revocations:
    return consortium.authority.trust_root.load_revocations(consortium.crl(at=now), now=now)


def test_each_warning_once_a_day(consortium: Consortium) -> None:
    member = consortium.parties[NODES[0]].member
    morning = (member.not_after - CERTIFICATE_NOTICE + timedelta(days=2)).replace(hour=6)
    reminder = DailyReminder()

    def said(now: datetime) -> list[str]:
        with capture_logs() as logs:
            reminder.remind(member, _list(consortium, now), now)
        return [str(line["sentence"]) for line in logs if member.label in str(line["sentence"])]

    assert len(said(morning)) == 1
    assert said(morning + timedelta(hours=12)) == []
    assert len(said(morning + timedelta(days=1))) == 1


def test_nothing_is_said_while_there_is_time(consortium: Consortium) -> None:
    member = consortium.parties[NODES[0]].member
    early = member.not_after - CERTIFICATE_NOTICE - timedelta(days=1)
    with capture_logs() as logs:
        DailyReminder().remind(member, _list(consortium, early), early)
    assert [line for line in logs if member.label in str(line["sentence"])] == []
