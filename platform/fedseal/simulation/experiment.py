"""The experiment file: what is simulated, on which data, under which circumstances, from which seeds.

Rules kept here:
- An experiment and a seed determine every result, bit for bit, on one machine.
- Method, learner and their settings are those of a real job; what only a simulation can do (virtual nodes, losses,
  attackers) stands beside them.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedseal_governance.documents import Document, fault, load_yaml
from fedseal_governance.jobs import MAX_NODES, MAX_ROWS, MAX_SEED, LearnerChoice, MethodChoice
from fedseal_governance.vocabulary import ColumnName, Name, Settings

MAX_SEEDS = 100


class Protection(StrEnum):
    """How contributions are added up.

    ``none`` adds floating-point numbers, ``encoded`` the ring words that would be masked; ``masking``, ``homomorphic``
    and ``hybrid`` play the whole protocol with real keys, the custodian's part included.
    """

    NONE = "none"
    ENCODED = "encoded"
    MASKING = "masking"
    HOMOMORPHIC = "homomorphic"
    HYBRID = "hybrid"

    @property
    def has_protocol(self) -> bool:
        """Whether members sign and exchange messages, which only a large enough cohort can."""
        return self not in (Protection.NONE, Protection.ENCODED)

    @property
    def has_custodian(self) -> bool:
        """Whether contributions are encrypted under a custodian's key."""
        return self in (Protection.HOMOMORPHIC, Protection.HYBRID)


class PartitionKind(StrEnum):
    """How rows are dealt to nodes."""

    IID = "iid"
    DIRICHLET = "dirichlet"
    CLASSES = "classes"
    NATURAL = "natural"


class Data(Document):
    """Where rows come from.

    Attributes:
        source: ``fashion-mnist`` (the Debian package dataset-fashion-mnist, or a folder with the same four files), or
            ``files``.
        folder: of Fashion-MNIST; or what the files' paths are relative to. Relative to the experiment file.
        schema_file: of ``files``.
        files: of ``files``: CSV file by site.
        training_rows: rows used for training, in all; 0 for all there are.
        test_rows: rows to test on, in all; 0 for all there are. Of ``files``, the share `test_share` of each.
        test_share: of ``files``: share of each site's rows that is held out.
    """

    source: Literal["fashion-mnist", "files"]
    folder: str = ""
    schema_file: str = ""
    files: Annotated[dict[Name, str], Field(max_length=MAX_NODES)] = Field(default_factory=dict)
    features: Annotated[tuple[ColumnName, ...], Field(max_length=2000)] = ()
    training_rows: Annotated[int, Field(ge=0, le=MAX_ROWS)] = 0
    test_rows: Annotated[int, Field(ge=0, le=MAX_ROWS)] = 0
    test_share: Annotated[float, Field(gt=0, le=0.9)] = 0.3

    @model_validator(mode="after")
    def _source_is_complete(self) -> "Data":
        if self.source == "files" and not (self.schema_file and self.files):
            key = "files" if self.schema_file else "schema_file"
            raise fault("`source: files` needs `schema_file` and `files`", "add them", key=key)
        for key in ("schema_file", "files", "features", "test_share"):
            if self.source != "files" and key in self.model_fields_set:
                raise fault(f"`{key}` is only read with `source: files`", "remove it", key=key)
        return self


class Partition(Document):
    """How rows are dealt to nodes.

    Attributes:
        nodes: virtual nodes; with ``natural`` each site is one and this is left out.
        alpha: of ``dirichlet``: concentration; the smaller, the more nodes differ (0.1 extreme, 100 nearly equal).
        classes_per_node: of ``classes``.
        rows_per_node: each node gets at most this many; 0 deals out all rows.
        minimum_rows: of ``dirichlet``: drawn again until each node has as many.
        unseen: further nodes, dealt rows like the others, that never train; see `Measures.own_rows`.
    """

    kind: PartitionKind = PartitionKind.IID
    nodes: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    classes_per_node: Annotated[int, Field(ge=1, le=1000)] = 2
    rows_per_node: Annotated[int, Field(ge=0, le=MAX_ROWS)] = 0
    minimum_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 10
    unseen: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0

    @model_validator(mode="after")
    def _nodes_are_said(self) -> "Partition":
        if (self.kind is PartitionKind.NATURAL) == bool(self.nodes):
            wanted = "the sites are the nodes" if self.nodes else "nobody says how many nodes there are"
            remedy = "remove `nodes`" if self.nodes else "write `nodes`"
            raise fault(f"with `kind: {self.kind.value}` {wanted}", remedy, key="nodes")
        if self.kind is PartitionKind.NATURAL and self.unseen:
            raise fault("with `kind: natural` the sites are the nodes", "remove `unseen`", key="unseen")
        return self

    @model_validator(mode="after")
    def _what_is_said_is_read(self) -> "Partition":
        for key, kind in (
            ("alpha", PartitionKind.DIRICHLET),
            ("minimum_rows", PartitionKind.DIRICHLET),
            ("classes_per_node", PartitionKind.CLASSES),
        ):
            if key in self.model_fields_set and self.kind is not kind:
                raise fault(f"`{key}` is only read with `kind: {kind.value}`", "remove it, or change the kind", key=key)
        return self


class Circumstances(Document):
    """What goes wrong in a round, drawn anew each time.

    Attributes:
        participation: share of the nodes that is asked.
        dropouts: share of those asked whose contribution is lost after they trained.
        stragglers: share of those asked that are too slow, and train one epoch only.
    """

    participation: Annotated[float, Field(gt=0, le=1)] = 1.0
    dropouts: Annotated[float, Field(ge=0, lt=1)] = 0.0
    stragglers: Annotated[float, Field(ge=0, le=1)] = 0.0


class AttackChoice(Document):
    """Which nodes attack, and how; see `fedseal.simulation.attacks`.

    Attributes:
        nodes: the first so many nodes are the attacker's.
        from_round: they behave until this round.
        until_round: and after it; 0 for never.
    """

    name: Name
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    from_round: Annotated[int, Field(ge=0)] = 0
    until_round: Annotated[int, Field(ge=0)] = 0
    settings: Settings = Field(default_factory=dict)

    @model_validator(mode="after")
    def _it_happens(self) -> "AttackChoice":
        if self.until_round and self.until_round <= self.from_round:
            raise fault(
                f"the attack ends in round {self.until_round}, before it begins in round {self.from_round}",
                "raise `until_round`, or write 0 for an attack without end",
                key="until_round",
            )
        return self


class Measures(Document):
    """What is measured, and how often.

    Attributes:
        every: rounds between evaluations on the test rows; the last round is always evaluated.
        own_rows: also each node's own model on test rows dealt out like its training rows (mean and worst node, and
            how well all are calibrated together); the same for nodes that never trained.
        own_count: with ``own_rows``: as many test rows for each node, where there are enough of its classes; 0 for as
            many as it has training rows.
    """

    every: Annotated[int, Field(ge=1, le=10_000)] = 1
    own_rows: bool = False
    own_count: Annotated[int, Field(ge=0, le=MAX_ROWS)] = 0


class Experiment(Document):
    """One experiment; each seed is a run of its own."""

    experiment: Name
    version: Literal[1] = 1
    description: str = ""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], Field(min_length=1, max_length=MAX_SEEDS)]
    data: Data
    partition: Partition
    method: MethodChoice
    learner: LearnerChoice
    protection: Protection = Protection.NONE
    circumstances: Circumstances = Circumstances()
    attack: AttackChoice | None = None
    measures: Measures = Measures()

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Experiment":
        if len(set(self.seeds)) != len(self.seeds):
            raise fault("a seed is listed twice", "keep one", key="seeds")
        return self

    @model_validator(mode="after")
    def _rows_can_be_chosen(self) -> "Experiment":
        if self.partition.kind is PartitionKind.NATURAL:
            for key, value in (
                ("training_rows", self.data.training_rows),
                ("rows_per_node", self.partition.rows_per_node),
            ):
                if value:
                    raise fault(
                        f"with `kind: natural` each site has its own rows, and `{key}` is not read",
                        "remove it",
                        key=key,
                    )
        return self

    @model_validator(mode="after")
    def _attack_begins(self) -> "Experiment":
        if self.attack is not None and self.attack.from_round >= self.method.rounds:
            raise fault(
                f"the attack begins in round {self.attack.from_round} of {self.method.rounds}, counted from 0",
                "lower `from_round`",
                key="attack",
            )
        return self


def load_experiment(data: bytes, filename: str) -> Experiment:
    """Read an experiment file.

    Raises:
        DocumentError: naming line, field, value and remedy of every fault.
    """
    return load_yaml(data, filename, Experiment)
