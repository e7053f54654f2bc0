"""What is installed: pinned, hashed, complete, needed, and under a licence that we know."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import CHECKOUT

RUN, DEVELOP = "requirements.txt", "requirements-dev.txt"
# Used without being imported by app/: where, and by which word.
NOT_IMPORTED = {
    "honcho": ("Makefile", "honcho start"),
    "tzdata": ("app/recurrence.py", "zoneinfo"),  # the zones, where the system has none
}
# Imported though only their bearer is declared: a part of its own interface.
BORNE = {"babel": "flask-babel", "certifi": "requests", "click": "flask", "wtforms": "flask-wtf"}
# Permissive, or weak copyleft that asks nothing of a program that only imports the library.
LICENCES = re.compile(
    r"MIT|BSD|Apache|\bISC\b|PSF|Python Software Foundation|Mozilla Public|MPL-2|Zope Public|LGPL|0BSD|CC0"
)


def locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Each package of a lock file with its hashes."""
    found: dict[str, tuple[Requirement, list[str]]] = {}
    joined = re.sub(r"\\\n\s*", " ", (CHECKOUT / name).read_text())
    for line in joined.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            wanted, *hashes = re.split(r"\s--hash=", line)
            requirement = Requirement(wanted.strip())
            assert canonicalize_name(requirement.name) not in found, f"{requirement.name} twice in {name}"
            found[canonicalize_name(requirement.name)] = requirement, [each.strip() for each in hashes]
    return found


def declared(*extras: str) -> dict[str, Requirement]:
    """The direct dependencies of setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    texts = [parser["options"]["install_requires"]]
    texts += [parser["options.extras_require"][extra] for extra in extras]
    requirements = [Requirement(line) for text in texts for line in text.split("\n") if line.strip()]
    return {canonicalize_name(each.name): each for each in requirements}


def pinned(requirement: Requirement) -> Version:
    [pin] = requirement.specifier
    assert pin.operator == "==", requirement
    assert "*" not in pin.version, requirement
    return Version(pin.version)


@pytest.mark.parametrize("name", [RUN, DEVELOP])
def test_every_package_is_pinned_to_one_version_with_its_hashes(name: str) -> None:
    found = locked(name)
    assert found
    for requirement, hashes in found.values():
        assert pinned(requirement)
        assert requirement.url is None, requirement
        assert hashes, f"{requirement} has no hash"
        for each in hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", each), requirement


@pytest.mark.parametrize(("name", "extras"), [(RUN, ()), (DEVELOP, ("dev", "postgresql"))])
def test_every_direct_dependency_is_locked_in_a_version_that_is_allowed(
    name: str, extras: tuple[str, ...]
) -> None:
    found = locked(name)
    for package, wanted in declared(*extras).items():
        assert package in found, f"{package} is missing from {name}: run make lock"
        assert wanted.specifier.contains(pinned(found[package][0])), f"{name} has {found[package][0]}"


def test_tests_run_with_the_versions_that_users_get() -> None:
    run, develop = locked(RUN), locked(DEVELOP)
    for package, (requirement, hashes) in run.items():
        assert package in develop
        assert pinned(develop[package][0]) == pinned(requirement)
        assert set(develop[package][1]) == set(hashes)


@pytest.mark.parametrize("package", declared())
def test_a_dependency_has_a_lowest_version(package: str) -> None:
    assert any(each.operator in (">=", "==", "~=") for each in declared()[package].specifier), package


def needs(package: str) -> Iterator[str]:
    """What an installed package says that it needs here, with the extras left out."""
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def test_the_lock_holds_what_is_needed_and_nothing_else() -> None:
    """Followed from the direct dependencies through what the installed packages declare."""
    found, reached, ahead = locked(RUN), set[str](), list(declared())
    while ahead:
        package = ahead.pop()
        if package not in reached:
            reached.add(package)
            assert package in found, f"{package} is needed and not locked"
            ahead += needs(package)
    elsewhere = {each for each, (wanted, _hashes) in found.items() if wanted.marker and each not in reached}
    assert set(found) - reached == elsewhere


def imported() -> set[str]:
    """The packages whose modules the product imports, by the name they are installed under."""
    files = [*(CHECKOUT / "app").rglob("*.py"), CHECKOUT / "wsgi.py", CHECKOUT / "gunicorn.conf.py"]
    modules: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {each.name.split(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                modules |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    installed = metadata.packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"app", "_typeshed"}
    return {canonicalize_name(installed[module][0]) for module in foreign}


def test_nothing_is_imported_that_is_not_declared() -> None:
    for package in imported() - set(declared()):
        assert package in BORNE, f"{package} is imported: declare it in setup.cfg"
        assert BORNE[package] in declared()
        assert package in set(needs(BORNE[package])), f"{BORNE[package]} brings {package} no longer"


def test_nothing_is_declared_that_is_not_used() -> None:
    assert set(declared()) - imported() == set(NOT_IMPORTED)
    for file, word in NOT_IMPORTED.values():
        assert word in (CHECKOUT / file).read_text()


def licence_of(package: str) -> str:
    told = metadata.metadata(package)
    classifiers = [each for each in told.get_all("Classifier") or () if each.startswith("License ::")]
    return " / ".join(
        filter(None, [told["License-Expression"], *classifiers, (told["License"] or "").split("\n")[0]])
    )


@pytest.mark.parametrize("package", locked(RUN))
def test_every_licence_is_known_and_allowed(package: str) -> None:
    try:
        licence = licence_of(package)
    except metadata.PackageNotFoundError:
        assert locked(RUN)[package][0].marker, f"{package} is locked but not installed: run make test"
        return
    assert LICENCES.search(licence), f"{package}: {licence or 'no licence is told'}"
    assert not re.search(r"\bA?GPL|Proprietary", licence), f"{package}: {licence}"
