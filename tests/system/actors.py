"""What runs inside a party's process: the real command line, and for some tests a trap in it.

The processes are forked from a server that has imported everything once, because importing torch five times for
each test would cost more than the tests. From there on they are what `fedseal coordinator run` and `fedseal node
run` are: the same commands, an own process group, an own pipe for output.

A trap watches the calls through which a party talks to its database or to the coordinator. Before or after the call
that it waits for, it kills its own process or holds it. Nothing in the product knows of it.
"""

import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, Literal

import torch

import fedseal.coordinator.server
import fedseal.custodian.run
import fedseal.node.run
import fedseal_cli.app
from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2 as pb
from fedseal_crypto.masking import DecodeLimits, decode_message


def _import_the_rest() -> None:
    """What torch imports at its first training step, about two seconds of it."""
    layer = torch.nn.Linear(1, 1, device="meta").to_empty(device="cpu")
    torch.optim.SGD(layer.parameters(), lr=0.1)


_import_the_rest()
_LARGE = DecodeLimits(members=1_000, message_bytes=1 << 22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """When a process shall die or wait.

    Attributes:
        owner: whose calls are watched: the ledger of coordinator, node or custodian, the node's connection, or the
            custodian's vault or connection (``custody``).
        call: regular expression over the call's description: method and plain arguments, joined by ``|``.
        moment: right before or right after the call.
        skip: how many such calls pass first.
        action: SIGKILL of the own process; or set ``reached`` and wait for ``released``.
    """

    owner: Literal["coordinator", "node", "connection", "custodian", "vault", "custody"]
    call: str
    moment: Literal["before", "after"]
    skip: int = 0
    action: Literal["kill", "hold"] = "kill"
    reached: Event | None = None
    released: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to run in the new process.

    Attributes:
        arguments: of the `fedseal` command.
        trap: see there.
        file_bytes: soft limit for the size of any file that the process writes, as on a full disk.
        clock_offset: seconds by which the process's clock is wrong.
    """

    arguments: tuple[str, ...]
    trap: Trap | None = None
    file_bytes: int | None = None
    clock_offset: float = 0.0


def run(launch: Launch, output: Connection) -> None:
    """The new process's main function: `fedseal ARGUMENTS`, leaving with the command's exit code."""
    os.setsid()
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if launch.file_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (launch.file_bytes, hard))
    if launch.trap is not None:
        _set(launch.trap)
    if launch.clock_offset:
        _turn_clock(launch.clock_offset)
    fedseal_cli.app.build_command()(args=list(launch.arguments), prog_name="fedseal")


def _turn_clock(offset: float) -> None:
    """Make every clock reading of the product wrong by ``offset`` seconds; they all go through one function."""
    from datetime import timedelta

    right = fedseal.trust.utc_now
    wrong = lambda: right() + timedelta(seconds=offset)  # noqa: E731
    for module in tuple(sys.modules.values()):
        if getattr(module, "utc_now", None) is right:
            module.utc_now = wrong  # type: ignore[attr-defined]


def _set(trap: Trap) -> None:
    module, name = {
        "coordinator": (fedseal.coordinator.server, "Ledger"),
        "node": (fedseal.node.run, "NodeLedger"),
        "connection": (fedseal.node.run, "CoordinatorConnection"),
        "custodian": (fedseal.custodian.run, "CustodianLedger"),
        "vault": (fedseal.custodian.run, "Vault"),
        "custody": (fedseal.custodian.run, "CustodyConnection"),
    }[trap.owner]
    setattr(module, name, _watched(getattr(module, name), _Watch(trap)))


@dataclass(slots=True)
class _Watch:
    trap: Trap
    passed: int = field(default=0)

    def see(self, moment: str, description: str) -> None:
        trap = self.trap
        if moment != trap.moment or re.search(trap.call, description) is None:
            return
        if self.passed < trap.skip:
            self.passed += 1
            return
        if trap.reached is not None:
            trap.reached.set()
        if trap.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # never returns: the signal is fatal
        elif trap.released is not None:
            trap.released.wait()


def _watched(original: type[Any], watch: _Watch) -> type[Any]:
    """A subclass of ``original`` whose public methods report to ``watch``."""

    def around(name: str) -> Callable[..., Any]:
        method = getattr(original, name)

        def call(self: Any, *args: Any, **keywords: Any) -> Any:
            description = "|".join([name, *_plain(args)])
            watch.see("before", description)
            result = method(self, *args, **keywords)
            watch.see("after", description)
            return result

        return call

    public = [name for name, value in vars(original).items() if callable(value) and not name.startswith("_")]
    return type(original.__name__, (original,), {name: around(name) for name in public})


def _plain(values: tuple[Any, ...]) -> list[str]:
    return [text for value in values for text in [_describe(value)] if text]


def _describe(value: object) -> str:
    match value:
        case str() | int() | RoundAddress():
            return str(value)
        case pb.NodeReport():
            kind = value.WhichOneof("kind")
            if kind != "message":
                return str(kind)
            message = decode_message(value.message.payload, _LARGE)
            return f"{RoundAddress.from_wire(value.message.address)}|{type(message).__name__}"
        case pb.ContributionHeader():
            return str(RoundAddress.from_wire(value.address))
        case _:
            plan = getattr(value, "plan", None)
            return str(plan.address) if plan is not None and hasattr(plan, "address") else ""
