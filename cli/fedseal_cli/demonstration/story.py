"""The demonstration from the first key to the verified audit log, chapter by chapter."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedseal.client import Client
from fedseal.custodian.standing import custodian_standing
from fedseal.errors import RemoteError, SetupError
from fedseal.folders import PartyFolder
from fedseal.learning import load_model
from fedseal.local import open_party
from fedseal.methods.comparison import Comparison
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal.wire.status import CallRefused
from fedseal_cli.demonstration import evidence
from fedseal_cli.demonstration.comparing import compare_all, comparison_table
from fedseal_cli.demonstration.founding import SCIENTIST, found, furnish, now, withdraw_consent, withdrawn_before
from fedseal_cli.demonstration.processes import Services
from fedseal_cli.demonstration.screen import JobView, Screen
from fedseal_cli.demonstration.setting import DATASET, HOSPITALS, Setting, prepare
from fedseal_cli.demonstration.summary import Auc, Audit, Summary
from fedseal_governance.audit import reconcile, verify_bundle
from fedseal_governance.consent import in_force
from fedseal_governance.jobs import JobDocument, load_job
from fedseal_governance.participation import attempts_of, records_used
from fedseal_governance.runs import RoundKey
from fedseal_governance.vocabulary import Protection

_UNDER = {
    Protection.MASKING: "masks",
    Protection.HOMOMORPHIC: "a custodian's key",
    Protection.HYBRID: "masks and a custodian's key",
}

VICTIM = "hungary"
"""The hospital whose process is killed."""

WITHDRAWING_AT = "cleveland"
"""The hospital of the patient who withdraws during the job."""

TRAINING = "training"
KILL_IN_ROUND = 4
WITHDRAW_AFTER_ROUND = 8


@dataclass(slots=True)
class Observed:
    """What the demonstration saw of its own job."""

    killed_in: int | None = None
    recovered: bool = False
    withdrawn: str | None = None
    withdrawn_after: int | None = None


class Demonstration:
    """Plays the whole story in one folder.

    Args:
        folder: where everything is made; must be empty, or an earlier demonstration's with ``force``.
        force: replace an earlier demonstration.
        protection: of the job.
    """

    def __init__(
        self, folder: Path, *, force: bool, screen: Screen, protection: Protection = Protection.MASKING
    ) -> None:
        self._setting: Setting = prepare(folder, force=force, protection=protection)
        self._screen = screen
        self._observed = Observed()

    def play(self) -> Summary:
        """Play it to the end.

        Raises:
            SetupError: a process ended or the job did not finish.
        """
        setting, screen = self._setting, self._screen
        with Services(setting.folder) as services:
            screen.chapter("Founding: authority, coordinator, four hospitals, people")
            passphrase = found(setting, services, screen.line)
            screen.chapter("At each hospital: data, consents, an approved policy")
            furnish(setting, passphrase, screen.line)
            screen.chapter("Starting the coordinator and the four hospitals as processes of their own")
            self._start(services)
            with Client(PartyFolder.load(setting.person(SCIENTIST)), passphrase=passphrase) as client:
                services.wait_until(lambda: self._all_present(client), what="the hospitals' arrival")
                screen.line("coordinator and four hospitals are connected (mutual TLS 1.3)")
                clause = self._forbidden_job(client)
                job, detail = self._job(client, services)
                screen.chapter("What the job leaves")
                products = evidence.fetch(client, detail, setting.folder)
                services.wait_until(self._all_cosigned, what="the hospitals' cosignatures")
        return self._conclude(job, detail, products, clause)

    # -- chapters --------------------------------------------------------------------------------------

    def _start(self, services: Services) -> None:
        listen = f"127.0.0.1:{self._setting.coordinator_port}"
        folder = self._setting.party("coordinator")
        # long enough for a killed process to start again on a busy laptop
        (folder / "coordinator.yaml").write_text(f"listen: {listen}\nreturn_seconds: 40\n")
        services.start("coordinator", "coordinator", "run", "--folder", str(folder))
        for hospital in HOSPITALS:
            self._start_node(services, hospital)
        custodian = self._setting.custodian
        if custodian is not None:
            sealing = str(self._setting.passphrase_file)
            where = str(self._setting.party(custodian))
            services.start(custodian, "custodian", "run", "--folder", where, "--seal-passphrase-file", sealing)

    def _start_node(self, services: Services, hospital: str) -> None:
        services.start(hospital, "node", "run", "--folder", str(self._setting.party(hospital)))

    def _all_present(self, client: Client) -> bool:
        with suppress(RemoteError):
            return {node.node for node in client.nodes().nodes} == set(HOSPITALS)
        return False

    def _all_cosigned(self) -> bool:
        """Whether every hospital has cosigned the coordinator's log as it stands after the job."""
        return evidence.witnesses_of(self._setting.party("coordinator")) >= len(HOSPITALS)

    def _forbidden_job(self, client: Client) -> str:
        """Submit a job for a purpose that no policy allows; gives the clause that refused it."""
        self._screen.chapter("A job for a forbidden purpose")
        file = self._setting.example("job-forbidden.yaml")
        data = file.read_bytes()
        verdicts = client.check_job(data, str(file))
        refusing = [reason for node in verdicts.nodes for reason in node.reasons if not reason.allowed]
        try:
            client.submit_job(data, str(file))
        except CallRefused:
            clause = refusing[0].clause if refusing else ""
            self._screen.line(f"refused by clause [{clause}] at {len(verdicts.nodes)} hospitals:", style="yellow")
            self._screen.line(refusing[0].sentence if refusing else "")
            return clause
        return ""

    def _job(self, client: Client, services: Services) -> tuple[JobDocument, pb.JobDetail]:
        """Submit the training job and follow it through a kill, a return and a withdrawal."""
        self._screen.chapter(f"The job: federated averaging under {_UNDER[self._setting.protection]}")
        content, name = self._setting.job(), "job.yaml"
        document = load_job(content, name)
        verdicts = client.check_job(content, name)
        allowing = sum(node.accepted for node in verdicts.nodes)
        self._screen.line(f"checked: the policies of {allowing} of {len(verdicts.nodes)} hospitals allow it")
        summary = client.submit_job(content, name)
        self._screen.line(f"{document.job} signed by {SCIENTIST}, digest {summary.job[:16]}…")
        with self._screen.follow(summary.rounds_planned) as view:
            for event in client.watch_job(summary.job):
                view.show(event)
                self._intervene(event, services, view)
        detail = client.show_job(summary.job)
        if detail.summary.state != "finished":
            sentence = f"the job ended as {detail.summary.state}: {detail.summary.reason}"
            raise SetupError(sentence)
        return document, detail

    def _intervene(self, event: pb.JobEvent, services: Services, view: JobView) -> None:
        """Kill a hospital in the middle of a round, bring it back, and let a patient withdraw."""
        observed, address = self._observed, event.address
        if address.stage != TRAINING:
            return
        number = address.round + 1
        step = "advertise" if self._setting.protection is Protection.HOMOMORPHIC else "share"
        shared = event.kind == "message" and event.step == step and event.node == VICTIM
        if shared and number >= KILL_IN_ROUND and not observed.recovered and VICTIM in services.running:
            services.kill(VICTIM)
            observed.killed_in = number
            view.note(VICTIM, "killed")
            view.say(f"round {number}: the process of {VICTIM} is killed after its shares are out", style="red")
        elif event.kind == "completed":
            self._after_round(number, event, services, view)

    def _after_round(self, number: int, event: pb.JobEvent, services: Services, view: JobView) -> None:
        observed = self._observed
        if VICTIM not in services.running:
            observed.recovered = not event.text.endswith(" 0 recovered")
            view.say(f"round {number} completed without it ({event.text}); {VICTIM} starts again", style="green")
            self._start_node(services, VICTIM)
        if observed.withdrawn is None and number >= WITHDRAW_AFTER_ROUND:
            observed.withdrawn = self._withdraw()
            observed.withdrawn_after = number
            view.say(f"after round {number}: patient {observed.withdrawn} withdraws at {WITHDRAWING_AT}")

    def _withdraw(self) -> str:
        """A patient whose record is in use withdraws; recorded at the hospital while its node runs."""
        with open_party(self._setting.party(WITHDRAWING_AT)) as node:
            consented = node.read(lambda session: in_force(session, dataset=DATASET, purpose="DUO:0000006", now=now()))
            earlier = set(withdrawn_before(self._setting, WITHDRAWING_AT))
            pseudonym = min(consented - earlier)
            withdraw_consent(node, pseudonym)
        return pseudonym

    def _conclude(self, job: JobDocument, detail: pb.JobDetail, products: evidence.Products, clause: str) -> Summary:
        setting, screen = self._setting, self._screen
        signer = evidence.verify_model(products, setting.party("coordinator"), now=now())
        screen.line(f"job record signed by {signer}; the model is the one it names")
        comparison = compare_all(setting, job, load_model(products.model))
        screen.table(comparison_table(comparison))
        audit = self._audit()
        bundle = Path(audit.bundle)
        evidence.write_report(products.report, detail, comparison, bundle, setting.party("coordinator"), now=now())
        excluded = self._withdrawal_respected(detail.summary.job)
        summary = Summary(
            auc=_auc(comparison),
            rounds=detail.summary.rounds_done,
            dropout_recovered=any(VICTIM in item.recovered for item in detail.rounds),
            refused_clause=clause,
            withdrawn_patient_excluded=excluded,
            audit=audit,
            model=str(products.model),
            job_record=str(products.job_record),
            report=str(products.report),
            seconds=round(screen.seconds, 1),
            bytes_up_per_node=_bytes_up(detail),
        )
        summary.write(setting.folder / "summary.json")
        return summary

    def _audit(self) -> Audit:
        setting, screen = self._setting, self._screen
        screen.chapter("The audit log, verified as an auditor would")
        bundle = setting.folder / "audit-coordinator"
        entries = evidence.export_log(setting.party("coordinator"), bundle, now=now())
        verified = verify_bundle(bundle)
        witnesses = len(verified.cosignatures)
        screen.line(f"{entries} entries verified, checkpoint cosigned by {witnesses} witnesses", style="green")
        agreed = contradictions = 0
        for hospital in HOSPITALS:
            own = setting.folder / f"audit-{hospital}"
            evidence.export_log(setting.party(hospital), own, now=now())
            compared = reconcile(bundle, own)
            agreed, contradictions = agreed + compared.agreed, contradictions + compared.contradictions
        screen.line(
            f"the four hospitals' own logs verified, and compared with it: {agreed} claims agree, "
            f"{contradictions or 'none'} contradict",
            style="green",
        )
        if setting.custodian is not None:
            self._custodian_audited(setting.custodian)
        copy = setting.folder / "audit-coordinator-forged"
        found, sentence = evidence.forged_copy_found(bundle, copy)
        screen.line(f"one byte of a copy flipped: {sentence}", style="yellow")
        return Audit(bundle=str(bundle), verified=True, tampered_entry_found=found)

    def _custodian_audited(self, custodian: str) -> None:
        """The custodian's log verifies, and says what it opened and that the key is gone."""
        setting, screen = self._setting, self._screen
        bundle = setting.folder / f"audit-{custodian}"
        evidence.export_log(setting.party(custodian), bundle, now=now())
        verify_bundle(bundle)
        with open_party(setting.party(custodian)) as party:
            standing = custodian_standing(party, now())
        for job in standing.jobs:
            gone = "destroyed" if job.destroyed_at is not None else "NOT destroyed"
            screen.line(
                f"{custodian}'s log verified: {job.sums} sums opened with the key {job.key[:12]}…, which is {gone}",
                style="green" if job.destroyed_at is not None else "red",
            )

    def _withdrawal_respected(self, digest: str) -> bool:
        """Whether the withdrawn record was used before, and in no round that began after the withdrawal."""
        observed = self._observed
        if observed.withdrawn is None or observed.withdrawn_after is None:
            return False
        before, after = [], []
        with open_party(self._setting.party(WITHDRAWING_AT)) as node:
            leaf = node.register(DATASET).key.leaf(observed.withdrawn)
            for row in node.read(lambda session: attempts_of(session, digest)):
                key = RoundKey(job=row.job, stage=row.stage, round=row.round, attempt=row.attempt)
                used = node.read(lambda session, key=key: records_used(session, key))  # type: ignore[misc]  # per loop
                # the round after the one that had just completed may have begun before the withdrawal
                if row.stage == TRAINING and row.round + 1 <= observed.withdrawn_after:
                    before.append(leaf in used)
                elif row.stage != TRAINING or row.round + 1 > observed.withdrawn_after + 1:
                    after.append(leaf in used and row.stage != "statistics")
        return any(before) and bool(after) and not any(after)


def _auc(comparison: Comparison) -> Auc:
    overall = comparison.overall
    return Auc(alone_mean=overall.alone.auc, federated=overall.federated.auc, pooled=overall.pooled.auc)


def _bytes_up(detail: pb.JobDetail) -> float:
    return float(sum(json.loads(item.metrics).get("bytes_up_per_node", 0.0) for item in detail.rounds))
