"""What `make dist` builds: its metadata, its files, and that the same sources give the same bytes."""

import email
import email.message
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

import superd

ROOT: Final = Path(__file__).resolve().parents[2]
#: The time of all files in the archives that are built here: some even second of 2024.
EPOCH: Final = 1_710_000_000

#: Each distribution's folder, the name that its files begin with, and its packages.
DISTRIBUTIONS: Final = {
    "client": ("superd_client", ["superd_client"]),
    "daemon": ("superd", ["superd"]),
    "examples": ("superd_examples", ["inventoryd", "romd"]),
}
RELEASED: Final = ("client", "daemon")


def build(folder: Path, epoch: int = EPOCH) -> Path:
    subprocess.run(
        [ROOT / "tools/dist.sh", sys.executable, folder, folder],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
    )
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(params=DISTRIBUTIONS)
def distribution(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wheel(built: Path, distribution: str) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel_path(built, distribution)) as opened:
        yield opened


def wheel_path(folder: Path, distribution: str) -> Path:
    return folder / f"{DISTRIBUTIONS[distribution][0]}-{superd.__version__}-py3-none-any.whl"


def info(wheel: zipfile.ZipFile, distribution: str, name: str) -> bytes:
    return wheel.read(f"{DISTRIBUTIONS[distribution][0]}-{superd.__version__}.dist-info/{name}")


def project(distribution: str) -> dict[str, Any]:
    found = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text("utf-8"))["project"]
    assert isinstance(found, dict)
    return found


def required(names: list[str], extra: str = "") -> set[Requirement]:
    return {Requirement(f"{name}; extra == '{extra}'" if extra else name) for name in names}


def test_what_is_built(built: Path) -> None:
    version = superd.__version__
    assert {path.name for path in built.iterdir()} == {
        *(f"{name}-{version}-py3-none-any.whl" for name, _ in DISTRIBUTIONS.values()),
        *(f"{DISTRIBUTIONS[each][0]}-{version}.tar.gz" for each in RELEASED),
    }


def test_the_metadata_is_valid_and_is_what_the_project_says(
    wheel: zipfile.ZipFile, distribution: str
) -> None:
    metadata = Metadata.from_email(info(wheel, distribution, "METADATA"), validate=True)
    says = project(distribution)
    assert (metadata.name, str(metadata.version)) == (says["name"], superd.__version__)
    assert str(metadata.requires_python) == ">=3.11"
    assert metadata.license_expression == "MIT"
    extras = says.get("optional-dependencies", {})
    assert set(metadata.provides_extra or ()) == set(extras)
    expected = required(says["dependencies"]).union(
        *(required(names, extra) for extra, names in extras.items())
    )
    assert set(metadata.requires_dist or ()) == expected
    assert metadata.project_urls in ({}, None)


def test_the_readme_is_the_description(wheel: zipfile.ZipFile, distribution: str) -> None:
    parsed: email.message.Message = email.message_from_bytes(info(wheel, distribution, "METADATA"))
    if distribution not in RELEASED:
        assert "Private :: Do Not Upload" in parsed.get_all("Classifier", [])
        return
    metadata = Metadata.from_email(info(wheel, distribution, "METADATA"))
    assert metadata.description_content_type == "text/markdown"
    readme = (ROOT / distribution / "README.md").read_text("utf-8")
    assert (metadata.description or "").strip() == readme.strip()


def test_the_wheel_is_typed_licensed_and_holds_the_packages_alone(
    wheel: zipfile.ZipFile, distribution: str
) -> None:
    name, packages = DISTRIBUTIONS[distribution]
    names = set(wheel.namelist())
    assert {f"{package}/py.typed" for package in packages} <= names
    assert info(wheel, distribution, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert {each.partition("/")[0] for each in names} == {*packages, f"{name}-{superd.__version__}.dist-info"}
    modules = {
        path.relative_to(ROOT / distribution).as_posix()
        for package in packages
        for path in (ROOT / distribution / package).rglob("*.py")
    }
    assert modules == {each for each in names if each.endswith(".py")}


def test_the_programs(built: Path) -> None:
    with zipfile.ZipFile(wheel_path(built, "daemon")) as wheel:
        assert info(wheel, "daemon", "entry_points.txt").decode().split() == [
            *("[console_scripts]", "superctl", "=", "superd.ctl.__main__:main"),
            *("superd", "=", "superd.__main__:main"),
        ]


@pytest.mark.parametrize("released", RELEASED)
def test_an_sdist_has_what_a_wheel_is_built_of(built: Path, released: str) -> None:
    name, packages = DISTRIBUTIONS[released]
    top = f"{name}-{superd.__version__}"
    with tarfile.open(built / f"{top}.tar.gz") as sdist:
        names = set(sdist.getnames())
        assert {member.mtime for member in sdist.getmembers()} == {EPOCH}
        assert all(member.isfile() for member in sdist.getmembers())
    assert {f"{top}/{each}" for each in ("LICENSE", "README.md", "PKG-INFO", "pyproject.toml")} <= names
    assert f"{top}/{packages[0]}/__init__.py" in names
    assert not any("__pycache__" in each for each in names)


@pytest.mark.parametrize("released", RELEASED)
def test_the_wheel_of_the_sdist_is_the_wheel_of_the_sources(
    built: Path, released: str, tmp_path: Path
) -> None:
    """`make dist` builds a wheel out of the sdist; here it is built as pip does of a checkout."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT / released,
        check=True,
        capture_output=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
    )
    assert wheel_path(tmp_path, released).read_bytes() == wheel_path(built, released).read_bytes()


def test_a_second_run_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    for path in built.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_was_built_before_is_replaced(tmp_path: Path) -> None:
    for old in ("superd-0.0.9-py3-none-any.whl", "superd_client-0.0.9.tar.gz"):
        (tmp_path / old).touch()
    (tmp_path / "superd_0.0.9_all.deb").touch()
    build(tmp_path)
    assert [path.name for path in tmp_path.glob("*0.0.9*")] == ["superd_0.0.9_all.deb"]


def test_without_hatchling_it_says_so(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    run = subprocess.run(
        [ROOT / "tools/dist.sh", fake, tmp_path, tmp_path], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr.strip()) == (1, f"{fake} has no hatchling; see requirements/build.txt")


def test_every_distribution_has_the_licence() -> None:
    texts = {(ROOT / each / "LICENSE").read_bytes() for each in (".", *DISTRIBUTIONS)}
    assert len(texts) == 1
