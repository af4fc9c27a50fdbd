"""One sentence and a documented exit code for every kind of error; a traceback only after --debug."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedseal.authority.errors import AnswerLost, AuthorityUnreachable, ClockSkewed, InvitationAltered, TokenRefused
from fedseal.errors import PeerFault, RefusalError, RemoteError, SetupError
from fedseal.wire.status import CallRefused, Unreachable
from fedseal_cli import exit_codes
from fedseal_cli.app import sentence_of
from fedseal_cli.exit_codes import ExitCode, exit_code_of
from fedseal_cli.job_output import JobNotFinished
from fedseal_crypto.certificates import CertificateRevoked, SubjectInvalid
from fedseal_crypto.identity import NameInvalid, WrongPassphrase
from fedseal_governance.errors import DocumentError, NotFound, Problem, StorageError, TamperError

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Shell

PROGRAM = [sys.executable, "-m", "fedseal_cli.main"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TamperError("x"), 1),
        (PeerFault("x"), 1),
        (InvitationAltered("x"), 1),
        (CertificateRevoked("x", party="node/a"), 1),
        (DocumentError(Problem(file="f", fault="a", remedy="b")), 2),
        (SetupError("x"), 2),
        (WrongPassphrase("x"), 2),
        (NameInvalid("x"), 2),
        (SubjectInvalid("x"), 2),
        (NotFound("x"), 3),
        (RefusalError("x"), 3),
        (TokenRefused("x"), 3),
        (ClockSkewed("x"), 3),
        (CallRefused("x", None), 3),  # type: ignore[arg-type]  # the status does not matter here
        (RemoteError("x"), 4),
        (Unreachable("x"), 4),
        (AuthorityUnreachable("x"), 4),
        (AnswerLost("x"), 4),
        (StorageError("x"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (PermissionError(errno.EACCES, "Permission denied"), 5),
        (JobNotFinished("x"), 6),
        (ZeroDivisionError("x"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code


def test_every_class_in_the_table_exists_and_every_code_is_documented() -> None:
    import importlib

    for name in exit_codes._CODES:
        module, _, kind = name.rpartition(".")
        assert hasattr(importlib.import_module(module), kind), name
    documented = {int(found) for found in re.findall(r"^    (\d+) ", exit_codes.__doc__ or "", re.MULTILINE)}
    assert documented == {int(code) for code in ExitCode}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "x", "/data/node.db"), "/data/node.db: the disk is full; free some space"),
        (PermissionError(errno.EACCES, "x", "/root/k"), "/root/k: this user has no permission there"),
        (OSError(errno.EADDRINUSE, "x"), "the port is in use by another program"),
        (SetupError("bad \x1b[2Jname\nsecond line"), "bad \\x1b[2Jname\nsecond line."),
        (KeyError("x"), "fedseal met a condition it does not handle (KeyError: 'x')"),
    ],
)
def test_sentences_are_for_people(error: BaseException, sentence: str) -> None:
    assert sentence_of(error).startswith(sentence)


def _run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_real_process_prints_one_sentence_on_stderr(tmp_path: Path) -> None:
    done = _run("federation", "show", "--authority", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: nowhere is not a folder; enrol first, or give the folder that enrolment made.\n"


def test_only_debug_shows_a_traceback(tmp_path: Path) -> None:
    done = _run("--debug", "federation", "show", "--authority", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith(
        "Error: nowhere is not a folder; enrol first, or give the folder that enrolment made.\n"
    )


def test_usage_errors_exit_with_2(tmp_path: Path) -> None:
    for arguments in (["polcy"], ["policy", "explain"], ["node", "enrol", "--folder"], ["job", "check", "--fast"]):
        done = _run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_a_missing_passphrase_names_the_ways_to_give_one(tmp_path: Path) -> None:
    done = _run(
        "federation", "init", "a", "--name", "heart", "--organisation", "X", cwd=tmp_path, FEDSEAL_PASSPHRASE=""
    )
    assert (done.returncode, done.stdout) == (2, "")
    environment = {name: value for name, value in os.environ.items() if name != "FEDSEAL_PASSPHRASE"}
    done = subprocess.run(
        [*PROGRAM, "federation", "init", "a", "--name", "heart", "--organisation", "X"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "give --passphrase-file or set FEDSEAL_PASSPHRASE" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    line = " ".join([*PROGRAM, "--help", "|", "head", "-1"])
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_one_line_and_130(made_federation: Path, tmp_path: Path) -> None:
    # A prompt waits for a person; Ctrl-C arrives there.
    program = (
        "import signal, sys, typer\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import fedseal_cli.output\n"
        "def wait(*_):\n"
        "    import time\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(30)\n"
        "fedseal_cli.output.print_table = wait\n"
        "import fedseal_cli.user\n"
        "fedseal_cli.user.print_table = lambda *a, **k: wait()\n"
        "from fedseal_cli.main import main\n"
        "sys.argv = ['fedseal', 'user', 'list', '--authority', 'authority']\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=made_federation,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "Stopped.\n")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_enrolment_service_ends_in_order(made_federation: Path, ending: signal.Signals) -> None:
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        authority = Path(folder) / "authority"
        shutil.copytree(made_federation / "authority", authority)
        settings = authority / "authority.yaml"
        settings.write_text(re.sub(r"listen: .*", "listen: 127.0.0.1:0", settings.read_text()))
        process = subprocess.Popen(
            [*PROGRAM, "federation", "serve", "--authority", str(authority)],
            env={**os.environ, "FEDSEAL_PASSPHRASE": "correct horse battery"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert "Enrolment service of heart listens on 127.0.0.1:" in process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(ending)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr


def test_a_defect_is_one_sentence_too(shell: "Shell", monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("fedseal.files.read_limited", broken)
    assert "ZeroDivisionError: oops" in shell.fails(70, "policy", "explain", "x.yaml")
