"""The guide "your own federation in ten minutes", run word for word: every shell block, in order, with real processes.

Two things differ from what a reader types: the two port numbers, because another test may hold them, and that a
folder with the example data stands in for the root of a clone.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "ten-minutes.md"
PORTS = ("7400", "7443")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def script_of(guide: str, ports: tuple[str, ...]) -> str:
    """All shell blocks of the guide as one script."""
    script = "\n".join(BLOCK.findall(guide))
    for written, free in zip(PORTS, ports, strict=True):
        assert f":{written}" in script, "the guide uses other ports than this test replaces"
        script = script.replace(f":{written}", f":{free}")
    return script


def free_ports(count: int) -> tuple[str, ...]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return tuple(str(item.getsockname()[1]) for item in sockets)
    finally:
        for item in sockets:
            item.close()


@contextmanager
def shell(script: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script in a process group of its own, and end whatever of that group is left."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDSEAL_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    bash = shutil.which("bash")
    assert bash is not None
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [bash, "-euo", "pipefail", str(script)],
            cwd=script.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_guide_works_word_for_word(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script, output = tmp_path / "guide.sh", tmp_path / "guide.log"
    script.write_text(script_of(GUIDE.read_text(encoding="utf-8"), free_ports(len(PORTS))))

    with shell(script, output) as process:
        code = process.wait(timeout=840)

    said = output.read_text(encoding="utf-8", errors="replace")
    assert code == 0, said[-4000:]
    assert "heart-risk is submitted" in said
    assert re.search(r"Verified +yes", said)
    assert "Withdrawn: 1 consent(s) ended" in said

    made = tmp_path / "my-federation"
    assert (made / "model.safetensors").stat().st_size > 1000
    assert b"<html" in (made / "report.html").read_bytes()[:500].lower()
    with zipfile.ZipFile(made / "coordinator-audit.zip") as bundle:
        assert b"job.finished" in bundle.read("entries.jsonl")
    logs = "".join(path.read_text(errors="replace") for path in made.glob("*.log"))
    assert "Traceback" not in logs
