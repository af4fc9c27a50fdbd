"""``fedseal audit stream``: entries for a security information and event management system."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedseal_cli.audit import app
from fedseal_cli.commands import command
from fedseal_cli.local_options import PartyArgument

if TYPE_CHECKING:
    from fedseal_governance.audit.stream import StreamFormat

_LOOK_SECONDS = 1.0
_MAX_POSITION_BYTES = 64
FORMATS = ("jsonl", "syslog")


@command(app, "stream", example="fedseal audit stream cleveland --follow --format syslog")
def stream(
    folder: PartyArgument,
    start: Annotated[int, typer.Option("--from", metavar="SEQ", min=0, help="Number of the first entry wanted.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new entries until stopped.")] = False,
    format_: Annotated[str, typer.Option("--format", help="jsonl or syslog (RFC 5424).")] = "jsonl",
    position: Annotated[
        Path | None,
        typer.Option("--position", metavar="FILE", help="Keep the number of the next entry here, and begin there."),
    ] = None,
) -> None:
    """Print entries as they are written, one a line; with --position an interrupted stream goes on where it stopped."""
    from sqlalchemy.orm import Session

    from fedseal.local import open_party
    from fedseal_governance.audit import stream as streams

    form = _format(format_)
    begin = _read_position(position, start)
    with open_party(folder) as party:
        host = streams.this_host()

        def page(number: int) -> list[bytes]:
            def work(session: Session) -> list[bytes]:
                return streams.entries_from(session, number)

            return party.read(work)

        for number, entries in streams.follow(page, begin, wait=_wait if follow else None):
            lines = entries
            if form is streams.StreamFormat.SYSLOG:
                lines = [streams.syslog_message(data, host=host) for data in entries]
            sys.stdout.buffer.write(b"".join(streams.line(data) for data in lines))
            sys.stdout.buffer.flush()
            _keep_position(position, number)  # after delivery: what is interrupted is delivered again, never left out


def _wait() -> bool:
    time.sleep(_LOOK_SECONDS)
    return True


def _format(text: str) -> "StreamFormat":
    from fedseal.errors import SetupError
    from fedseal_governance.audit.stream import StreamFormat

    if text not in FORMATS:
        raise SetupError(f"{text} is no format of a stream; give {' or '.join(FORMATS)}.")
    return StreamFormat(text)


def _read_position(file: Path | None, start: int) -> int:
    from fedseal.errors import SetupError
    from fedseal.files import read_limited

    if file is None or not file.exists():
        return start
    text = read_limited(file, max_bytes=_MAX_POSITION_BYTES, what="a stream's position").decode("utf-8", "replace")
    if not text.strip().isdigit():
        raise SetupError(f"{file} does not hold the number of an entry; delete it to begin with --from.")
    return int(text)


def _keep_position(file: Path | None, number: int) -> None:
    from fedseal.files import write_atomic

    if file is not None:
        write_atomic(file, f"{number}\n".encode())
