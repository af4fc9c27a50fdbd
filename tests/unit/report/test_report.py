"""The whole page: what must be on it, in every state, from honest and from hostile sources."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedseal.report import FederationView, render_report
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_governance.records import Refusal
from tests.unit.report.telling import MADE, MODEL_DIGEST, NODES, STATISTICS, Scenario, Teller, good_rounds, round_of

SECTIONS = ("computed", "holders", "disclosure", "rounds", "results", "privacy", "evidence")
VOID = frozenset({"meta", "wbr", "br", "link", "hr", "img", "input"})
HOSTILE = '<script>alert("1")</script><img src=x onerror=y>\u202egnirts\x00\x1b[2J'
FORBIDDEN = Refusal(clause="purposes", sentence="The policy does not allow commercial use.")


class PageReader(HTMLParser):
    """Reads a page strictly: every element closed in order, every identifier once."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        assert len(named) == len(attrs), f"an attribute of {tag} is given twice"
        if "id" in named:
            self.ids.append(str(named["id"]))
        self.links += [str(named[name]) for name in ("href", "src", "xlink:href", "action") if name in named]
        assert not [name for name in named if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(page: bytes) -> PageReader:
    reader = PageReader()
    reader.feed(page.decode("utf-8"))
    reader.close()
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    return reader


def page_of(teller: Teller, scenario: Scenario | None = None, view: FederationView | None = None) -> PageReader:
    return read(render_report(teller.tell(scenario or Scenario()), generated_at=MADE, federation=view))


def test_same_arguments_give_same_bytes(teller: Teller) -> None:
    detail, view = teller.tell(Scenario()), teller.view
    first = render_report(detail, generated_at=MADE, federation=view)
    assert first == render_report(detail, generated_at=MADE, federation=view)
    assert first != render_report(detail, generated_at=MADE + timedelta(seconds=1), federation=view)


def test_a_time_without_zone_is_refused(teller: Teller) -> None:
    with pytest.raises(ValueError, match="time zone"):
        render_report(teller.tell(Scenario()), generated_at=MADE.replace(tzinfo=None))


def test_page_needs_nothing_else(teller: Teller) -> None:
    page = render_report(teller.tell(Scenario()), generated_at=MADE, federation=teller.view)
    reader = read(page)
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert all(link.startswith("#") for link in reader.links)
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert b"://" not in page
    assert b"url(" not in page
    assert b"@import" not in page
    assert b"default-src 'none'" in page


def test_every_section_is_there(teller: Teller) -> None:
    reader = page_of(teller)
    assert [name for name in SECTIONS if name in reader.ids] == list(SECTIONS)
    for words in (
        "Four data holders trained one model together on the dataset heart-disease",
        "health or medical or biomedical research",
        "DUO:0000006",
        "Predict heart disease without moving a record.",
        "only sums over all participating sites",
        "sum of the changes",
        "This is processing of personal data.",
        "No differential privacy was applied.",
        "No sum over fewer than three data holders could be released.",
        "even if it lies and one of the data holders helps it",
        "fedseal model verify model.safetensors --record job-record.json --root authority.pem",
        "fedseal audit verify coordinator-audit.zip",
        "fedseal/heart/coordinator",
        "entry 41",
        "Discrimination (AUC)",
        "0.900",
        "83.0 %",
        "python 3.11.7",
    ):
        assert words in reader.text, words
    # Digests may be broken over lines and must still be copied whole.
    solid = reader.text.replace(" ", "")
    for digest in (MODEL_DIGEST, "12" * 32, "ef" * 32):
        assert digest in solid


def test_organisations_are_shown_where_known(teller: Teller) -> None:
    assert "Cleveland Clinic" in page_of(teller, view=teller.view).text
    assert "Cleveland Clinic" not in page_of(teller).text


def test_refused_job(teller: Teller) -> None:
    scenario = Scenario(
        state="refused",
        reason="1 of 4 nodes accepted the job and it needs 3",
        rounds=(),
        refusals={"cleveland": (FORBIDDEN,), "hungary": (FORBIDDEN,)},
        silent=("switzerland",),
        model=None,
    )
    text = page_of(teller, scenario, teller.view).text
    assert "The job did not run." in text
    assert "two data holders refused it, one gave no answer, one accepted it" in text
    assert "No round began, so no record was used for it." in text
    assert "cleveland refused" in text
    assert FORBIDDEN.sentence in text
    assert FORBIDDEN.clause in text
    assert "What was asked for" in text
    assert "Signature verified" in text
    assert "No model was exported." in text


def test_failed_job_after_retries(teller: Teller) -> None:
    lost = {"state": "failed", "cohort": 0, "figures": {}, "reason": "2 nodes left and 3 are needed"}
    rounds = (
        *good_rounds()[:3],
        round_of("training", 2, **lost),
        round_of("training", 2, attempt=1, **lost),
    )
    scenario = Scenario(state="failed", reason="2 attempts at the round failed", rounds=rounds, model=None)
    text = page_of(teller, scenario, teller.view).text
    assert "The job failed after 3 of 6 rounds." in text
    assert "Reason given by the coordinator: 2 attempts at the round failed" in text
    assert "Training round 3, attempt 2 failed and released no sum. Reason: 2 nodes left and 3 are needed" in text
    assert "No figures were published" in text


def test_stopped_job_keeps_its_model(teller: Teller) -> None:
    scenario = Scenario(state="stopped", reason="stopped by ada: enough", rounds=good_rounds()[:5])
    text = page_of(teller, scenario).text
    assert "The job was stopped after 5 of 6 rounds. The model of its last completed training was kept." in text
    assert "Signature not verified" in text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "The job is running: 2 of 6 rounds completed."),
        ("offered", "The job waits for the answers of the four data holders it asks."),
    ],
)
def test_job_that_has_not_ended(teller: Teller, state: str, words: str) -> None:
    rounds = good_rounds()[:2] if state == "running" else ()
    text = page_of(teller, Scenario(state=state, recorded=False, model=None, rounds=rounds), teller.view).text
    assert words in text
    assert "Interim report" in text
    assert "There is no job record yet" in text


def test_statistics_job(teller: Teller) -> None:
    scenario = Scenario(job=STATISTICS, rounds=(round_of("statistics"),), model=None)
    text = page_of(teller, scenario, teller.view).text
    assert "Four data holders computed joint statistics" in text
    assert "Measured values" in text
    assert "No model was exported" not in text
    assert "fit for use" not in text


def test_recovery_and_withdrawal_are_told(teller: Teller) -> None:
    without = {"cohort": 3, "recovered": ("hungary",), "figures": {"loss": 0.3, "rows": 450.0}}
    fewer = {"figures": {"loss": 0.2, "rows": 599.0}}
    rounds = (
        *good_rounds()[:3],
        round_of("training", 2, **without),
        round_of("training", 3, **fewer),
        round_of("evaluation"),
    )
    text = page_of(teller, Scenario(rounds=rounds)).text
    assert "Training round 3: hungary left before the end." in text
    assert "the sum of the remaining three was released" in text
    assert "from 600 to 599 in training round 4." in text
    assert "5 of 6 rounds" in text  # hungary


@pytest.mark.parametrize("field", ["name", "reason", "submitted_by", "state"])
def test_hostile_summary_is_escaped(teller: Teller, field: str) -> None:
    detail = teller.tell(Scenario(recorded=False, model=None))
    setattr(detail.summary, field, HOSTILE)
    assert_harmless(render_report(detail, generated_at=MADE, federation=teller.view))


def test_hostile_rounds_and_answers_are_escaped(teller: Teller) -> None:
    detail = teller.tell(Scenario(recorded=False, state="running", model=None))
    for item in detail.rounds:
        item.roster.append(HOSTILE)
        item.survivors.append(HOSTILE)
        item.recovered.append(HOSTILE)
        item.reason = HOSTILE
        item.metrics = '{"<b>figure</b>": 1, "loss": "x", "rows": NaN}'
    detail.rounds[0].address.stage = HOSTILE
    detail.rounds[1].state = "failed"
    detail.answers[0].node = HOSTILE
    detail.answers[0].reasons.append(pb.Reason(clause=HOSTILE, sentence=HOSTILE, allowed=False))
    assert_harmless(render_report(detail, generated_at=MADE))


def test_hostile_record_is_escaped(teller: Teller) -> None:
    changes = {
        name: HOSTILE.replace("\x00", "").replace("\x1b", "")
        for name in ("name", "submitted_by", "reason", "purpose", "method", "learner", "learner_digest", "log_origin")
    }
    scenario = Scenario(changes={**changes, "software": {HOSTILE: HOSTILE}, "protection": HOSTILE})
    assert_harmless(render_report(teller.tell(scenario), generated_at=MADE))


def test_hostile_organisation_is_escaped(teller: Teller) -> None:
    view = replace(teller.view, organisations=dict.fromkeys(NODES, HOSTILE))
    assert_harmless(render_report(teller.tell(Scenario()), generated_at=MADE, federation=view))


def assert_harmless(page: bytes) -> None:
    reader = read(page)
    assert not reader.tags & {"script", "img"}
    assert "alert" in reader.text
    text = page.decode("utf-8")
    assert "<script" not in text
    assert not [
        character for character in text if not character.isprintable() and character not in "\n\N{NO-BREAK SPACE}"
    ]


def test_endless_text_is_cut(teller: Teller) -> None:
    detail = teller.tell(Scenario(recorded=False, state="failed", model=None))
    detail.summary.reason = "x" * 1_000_000
    page = render_report(detail, generated_at=MADE)
    assert len(page) < 200_000


def test_nonsense_is_shown_as_such(teller: Teller) -> None:
    detail = pb.JobDetail(document=b"\xff", job_record=b"{}", schema=b"[", rounds=[pb.RoundSummary(state="odd")])
    reader = read(render_report(detail, generated_at=MADE, federation=teller.view))
    assert "What was delivered is not a job record." in reader.text
    assert "Do not rely on this report" in reader.text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_coordinator_says_is_rendered(data: st.DataObject) -> None:
    words = st.text(max_size=20) | st.sampled_from(
        ["training", "statistics", "completed", "failed", "accepted", HOSTILE]
    )
    numbers = st.floats() | st.integers(-(10**400), 10**400)
    times = st.sampled_from(["", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-05-04T09:30:00+00:00"])

    def names() -> list[str]:
        return data.draw(st.lists(words, max_size=4))

    def one_round() -> pb.RoundSummary:
        figures = data.draw(st.dictionaries(st.sampled_from(["loss", "rows", "auc", "clipped_share", "x"]), numbers))
        return pb.RoundSummary(
            address=pb.RoundAddress(stage=data.draw(words), round=data.draw(st.integers(0, 2**32 - 1))),
            state=data.draw(words),
            roster=names(),
            survivors=names(),
            recovered=names(),
            threshold=data.draw(st.integers(0, 2**32 - 1)),
            metrics=json.dumps(figures),
            started_at=data.draw(times),
            ended_at=data.draw(times),
        )

    detail = pb.JobDetail(
        summary=pb.JobSummary(name=data.draw(words), state=data.draw(words), submitted_at=data.draw(times)),
        rounds=[one_round() for _ in range(data.draw(st.integers(0, 5)))],
        answers=[pb.NodeAnswer(node=data.draw(words), answer=data.draw(words)) for _ in range(3)],
        document=data.draw(st.binary(max_size=20)),
        job_record=data.draw(st.binary(max_size=20)),
        schema=data.draw(st.binary(max_size=20)),
    )
    read(render_report(detail, generated_at=MADE))


def test_record_with_impossible_times_and_numbers_is_rendered(teller: Teller) -> None:
    odd = {"figures": {"loss": 1e308, "rows": -1e308, "clipped_share": 1e308}, "cohort": 2**52, "threshold": -(2**52)}
    rounds = (round_of("training", 0), round_of("training", 1, **odd), round_of("training", 2, roster=(), **odd))
    scenario = Scenario(rounds=rounds, changes={"ended_at": "9999-12-31T23:59:59-14:00", "log_position": -1})
    text = page_of(teller, scenario, teller.view).text
    assert "It states no possible time at which it ended." in text


def test_empty_detail_renders() -> None:
    reader = read(render_report(pb.JobDetail(), generated_at=MADE))
    assert [name for name in SECTIONS if name in reader.ids] == list(SECTIONS)


def test_long_job_stays_readable(teller: Teller) -> None:
    rounds = (
        round_of("statistics"),
        *(round_of("training", number) for number in range(3_000)),
        round_of("evaluation"),
    )
    page = render_report(teller.tell(Scenario(rounds=rounds)), generated_at=MADE)
    assert len(page) < 400_000
    text = read(page).text
    assert "Training rounds 1 to 3000" in text
    assert "2802 attempts in the middle are left out here" in text


def test_times_are_in_utc_whatever_the_zone(teller: Teller) -> None:
    made = datetime.fromisoformat("2026-05-04T14:00:00+02:00")
    detail = teller.tell(Scenario())
    assert render_report(detail, generated_at=made) == render_report(detail, generated_at=MADE)
