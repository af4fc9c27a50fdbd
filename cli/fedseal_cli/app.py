"""The root of the command tree, and the one place where errors become sentences and exit codes.

Rules this module keeps:
- A person sees one sentence on stderr and an exit code of ``fedseal_cli.exit_codes``; a traceback appears
  only after ``--debug``.
- Nothing heavy (torch, gRPC, pandas, scikit-learn, SQLAlchemy) is imported here or by a noun's module;
  commands import what they need when they run.
"""

import errno
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fedseal_cli import (
    audit,
    certificate,
    consent,
    coordinator,
    custodian,
    database,
    dataset,
    demo,
    federation,
    job,
    method,
    model,
    node,
    policy,
    protection,
    simulate,
    user,
)
from fedseal_cli.exit_codes import ExitCode, exit_code_of

_OS_SENTENCES = {
    errno.ENOSPC: "the disk is full; free some space and try again, nothing was half-written",
    errno.EDQUOT: "the disk quota is used up; free some space and try again, nothing was half-written",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "this user has no permission there; change the owner or choose another place",
    errno.EPERM: "this user has no permission there; change the owner or choose another place",
    errno.EADDRINUSE: "the port is in use by another program; stop that or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such network address; choose another to listen on",
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder, and a file is expected",
    errno.ENOTDIR: "a part of that path is a file",
}


class OneSentenceGroup(TyperGroup):
    """The root group: runs a command and turns what it raises into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of ``ctx``."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _leave(error, "Stopped.", debug=bool(ctx.params.get("debug")))
        except BrokenPipeError:
            raise  # the reader of a pipe went away; Typer ends quietly
        except Exception as error:
            # Every error passes here once: ours by their tables, anything else as a defect of ours.
            if isinstance(error, typer.Abort):
                typer.echo("Stopped; nothing was done.", err=True)
                raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
            if _belongs_to_typer(error):
                raise
            _leave(error, f"Error: {sentence_of(error)}", debug=bool(ctx.params.get("debug")))


def sentence_of(error: BaseException) -> str:
    """What a person reads about ``error``, without control characters."""
    if isinstance(error, OSError):
        what = _OS_SENTENCES.get(error.errno or 0, error.strerror or str(error))
        text = f"{error.filename}: {what}" if error.filename else what
    elif exit_code_of(error) is ExitCode.DEFECT:
        text = (
            f"fedseal met a condition it does not handle ({type(error).__name__}: {error}); "
            "run the command again as `fedseal --debug ...` and report what it prints"
        )
    else:
        text = str(error)
    clean = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return clean if clean.endswith((".", "!", "?")) else f"{clean}."


def _belongs_to_typer(error: Exception) -> bool:
    # Exit and usage errors; Typer formats those itself (a usage error exits with 2).
    return type(error).__module__.split(".")[0] in {"typer", "click"}


def _leave(error: BaseException, line: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    typer.echo(line, err=True)
    raise typer.Exit(int(exit_code_of(error)))


def _print_version(value: bool) -> None:
    if value:
        import fedseal

        typer.echo(f"fedseal {fedseal.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=OneSentenceGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: fedseal demo",
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Governed federated learning: train together, share nothing but sums."""
    del version, debug  # read by their callback and by OneSentenceGroup


for noun in (
    federation,
    coordinator,
    node,
    custodian,
    user,
    certificate,
    dataset,
    consent,
    policy,
    protection,
    job,
    method,
    model,
    simulate,
    audit,
    database,
):
    app.add_typer(noun.app)


app.command("demo", epilog="Example: fedseal demo --folder demo")(demo.demo)


def build_command() -> Any:
    """The command tree, ready to be called."""
    return typer.main.get_command(app)
