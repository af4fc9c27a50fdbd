"""The layout of a round's vector under the job's protection; every party computes it from the job."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedseal_crypto.encoding import Layout, VectorSpec
from fedseal_crypto.homomorphic import Parameters, SlotPlan, parameters_for_sums, plan_slots
from fedseal_governance.jobs import JobDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLayout:
    """How named vectors become what a node uploads.

    Attributes:
        specs: the vectors, as the method declares them.
        layout: encodes and decodes them.
        slots: how their words lie in ciphertexts; None without a custodian's key.
    """

    specs: tuple[VectorSpec, ...]
    layout: Layout
    slots: SlotPlan | None

    @property
    def upload_bytes(self) -> int:
        """Exact size of what one node uploads."""
        return self.layout.wire_bytes if self.slots is None else self.slots.bundle_bytes


def job_parameters(document: JobDocument) -> Parameters:
    """The encryption parameters of a job: fixed by how many nodes it names, at 128-bit security.

    Raises:
        CohortUnsupported: More nodes than any set of parameters can add.
    """
    return parameters_for_sums(len(document.nodes))


def round_layout(document: JobDocument, specs: Sequence[VectorSpec], *, cohort: int) -> RoundLayout:
    """The layout of a sum of at most ``cohort`` contributions.

    Under a custodian's key the words are uniform, because pads or masks are inside, in both protections.

    Raises:
        LayoutInvalid: The vectors do not fit.
    """
    if not document.protection.has_custodian:
        return RoundLayout(specs=tuple(specs), layout=Layout.plan(specs, cohort=cohort), slots=None)
    layout, slots = plan_slots(specs, cohort=cohort, parameters=job_parameters(document), masked=True)
    return RoundLayout(specs=tuple(specs), layout=layout, slots=slots)
