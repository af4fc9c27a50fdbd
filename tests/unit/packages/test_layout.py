"""How the packages lie in the repository: nothing hides the standard library, and what is public is said."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOP = ("platform", "crypto", "governance", "cli", "migrations")
PACKAGES = ("fedseal", "fedseal_crypto", "fedseal_governance", "fedseal_cli", "fedseal_migrations")


@pytest.mark.parametrize("folder", TOP)
def test_no_top_level_folder_is_a_package(folder: str) -> None:
    """A package called `platform` at the root would replace the standard library's for every tool that runs there."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_tests_are_no_packages_either() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_standard_librarys_platform_is_found_from_the_root() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.system())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in ("Linux", "Darwin", "Windows")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert (Path(module.__file__).parent / "py.typed").is_file()


def public_packages() -> list[str]:
    """Every sub-package without a leading underscore."""
    found = list(PACKAGES)
    for name in PACKAGES:
        module = importlib.import_module(name)
        walked = pkgutil.walk_packages(module.__path__, prefix=f"{name}.")
        found += [item.name for item in walked if item.ispkg and "._" not in item.name]
    return [name for name in found if "alembic" not in name]


@pytest.mark.parametrize("name", public_packages())
def test_what_a_package_offers_is_there(name: str) -> None:
    """`__all__` is sorted, without doubles, and names nothing that does not exist or is private."""
    module = importlib.import_module(name)
    offered = getattr(module, "__all__", None)
    if offered is None:
        return
    assert len(set(offered)) == len(offered)
    for item in offered:
        assert hasattr(module, item), item
        assert not item.startswith("_") or item == "__version__"


@pytest.mark.parametrize(
    "name",
    [
        "fedseal.learning",
        "fedseal.methods",
        "fedseal_crypto.certificates",
        "fedseal_crypto.encoding",
        "fedseal_crypto.masking",
        "fedseal_governance.audit",
        "fedseal_governance.consent",
        "fedseal_governance.datasets",
        "fedseal_governance.policy",
        "fedseal_governance.runs",
    ],
)
def test_what_a_package_imports_for_others_is_offered(name: str) -> None:
    """Nothing public is reachable by accident: what the package holds is in `__all__` or is a module of its own."""
    module = importlib.import_module(name)
    held = {
        item
        for item, value in vars(module).items()
        if not item.startswith("_") and getattr(value, "__module__", "").startswith(("fedseal", "fedseal_"))
    }
    assert held <= set(module.__all__)
