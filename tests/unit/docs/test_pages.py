"""The documentation is true where a machine can tell: generated parts, links, commands, samples."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fedseal_cli.app import build_command
from fedseal_governance.audit import verify_bundle
from fedseal_governance.datasets import load_schema
from fedseal_governance.jobs import load_job
from fedseal_governance.policy import load_policy

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(fedseal [a-z][^`\n]*)`")
OUTSIDER = ROOT / "tests" / "unit" / "audit" / "outsider_verifier.py"


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


@pytest.fixture
def audit_blocks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the worked example."""
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("docs_blocks_audit", DOCS / "blocks" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current_and_links_resolve() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "build.py"), "--check"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_tests_that_the_threat_model_names_exist() -> None:
    """Each attack of its table is played; a test that is renamed or removed is missed here."""
    page = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| .* \| `test_", line)]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    assert len(rows) >= 25
    assert all(re.search(r"`test_\w+`", row.rpartition("|")[0].rpartition("|")[2]) for row in rows)
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named - defined == set()


def test_the_worked_example_verifies_with_us_and_with_an_outsider(audit_blocks: ModuleType, tmp_path: Path) -> None:
    bundle: Path = audit_blocks.example(tmp_path)
    verified = verify_bundle(bundle)
    assert (verified.size, len(verified.cosignatures)) == (2, 1)
    keys = (bundle / "keys.txt").read_text().splitlines()
    for arguments in ([], keys[:1]):
        command = [sys.executable, str(OUTSIDER), str(bundle), *arguments]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0

    page = (DOCS / "audit-format.md").read_text(encoding="utf-8")
    for name in ("entries.jsonl", "leaves", "checkpoint", "keys.txt"):
        assert (bundle / name).read_text(encoding="utf-8").rstrip() in page


def commands_on(page: Path) -> Iterator[str]:
    """Every command line of fedseal on a page, in blocks and in running text."""
    for text in blocks(page, "sh", "console"):
        for line in text.replace("\\\n", " ").splitlines():
            # What stands before the command (`until [ "$(`, assignments) and after it (pipes, `&`) is the shell's.
            found = re.search(r"(?:^|\$\(|\bdo |\bthen )\s*(fedseal [a-z][^|&)]*)", line)
            if found is not None:
                yield re.sub(r"\s*[0-9]?>\s*\S+", "", found.group(1))
    yield from INLINE.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))


def complaint(line: str) -> str | None:
    """Why the command tree would not understand a line, or None."""
    words = [word for word in shlex.split(line)[1:] if "…" not in word]
    node: Any = build_command()
    while words and hasattr(node, "commands") and not words[0].startswith("-"):
        word = words.pop(0)
        if word in {"NOUN", "VERB"}:
            return None
        if word not in node.commands:
            return f"{word!r} is no command"
        node = node.commands[word]
    known = {name for parameter in node.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known | {"--help"}]
    return f"{unknown[0]} is no option of it" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_with_their_options(page: Path) -> None:
    wrong = {line: reason for line in commands_on(page) if (reason := complaint(line)) is not None}
    assert not wrong


def test_commands_are_found_at_all() -> None:
    lines = list(commands_on(DOCS / "guides" / "ten-minutes.md"))
    assert any(line.startswith("fedseal federation init") for line in lines)
    assert any(line.startswith("fedseal node list") for line in lines)
    assert complaint("fedseal node fly") == "'fly' is no command"
    assert complaint("fedseal node run --wings") == "--wings is no option of it"


def test_yaml_samples_are_what_the_program_reads() -> None:
    read = 0
    for page in PAGES:
        for text in blocks(page, "yaml"):
            data = text.encode()
            if text.startswith("policy:"):
                load_policy(data, str(page))
            elif text.startswith("job:"):
                load_job(data, str(page))
            elif text.startswith("dataset:"):
                load_schema(data, str(page))
            else:
                pytest.fail(f"{page}: a YAML sample of no known kind")
            read += 1
    assert read


def test_the_sample_policy_is_the_examples() -> None:
    sample = next(blocks(DOCS / "reference" / "policy.md", "yaml"))
    file = (ROOT / "examples" / "heart-disease" / "policy-cleveland.yaml").read_text(encoding="utf-8")
    assert sample in file


def test_pages_speak_plainly() -> None:
    """No page promises what nobody can, and none calls a party by two names."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").lower()
        for word in ("cutting-edge", "revolutionary", "military-grade", "unbreakable", "seamless", "world-class"):
            assert word not in text, page
