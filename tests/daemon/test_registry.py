"""Finding services: by module and name, by entry point."""

import sys
from pathlib import Path

import pytest

from superd.registry import Registry, ServiceError, load_service
from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Method
from tests.daemon import sample
from tests.daemon.running import service_of


def test_by_module_and_name() -> None:
    assert load_service("tests.daemon.sample:probe") is sample.probe


def test_an_attribute_of_an_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    class Holder:
        service = sample.other

    monkeypatch.setattr(sample, "holder", Holder, raising=False)
    assert load_service("tests.daemon.sample:holder.service") is sample.other


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution that is installed, with entry points."""
    info = tmp_path / "probing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probing\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(
        "[superd.services]\nprobing = tests.daemon.sample:probe\nwrong = tests.daemon.sample:text\n", "utf-8"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_by_entry_point(distribution: Path) -> None:
    assert load_service("probing") is sample.probe
    with pytest.raises(ServiceError, match="wrong is a str"):
        load_service("wrong")
    with pytest.raises(ServiceError, match=r"\(there are: .*probing, wrong.*\)"):
        load_service("missing")


def test_no_such_entry_point() -> None:
    with pytest.raises(ServiceError, match="missing is neither MODULE:NAME nor an entry point"):
        load_service("missing")


def test_a_module_that_fails_names_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_module.py").write_text("1 / 0\n", "utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ServiceError, match="ZeroDivisionError: division by zero") as caught:
        load_service("failing_module:service")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("name", ["rpc", "superd"])
def test_reserved_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "mine", Service(name), raising=False)
    with pytest.raises(ServiceError, match="is reserved"):
        load_service("tests.daemon.sample:mine")


async def run(params: Nothing, context: Context) -> str:
    return ""


def test_two_of_one_name() -> None:
    with pytest.raises(ServiceError, match="two services are called probe"):
        Registry([service_of(run), Service("other"), service_of(run)])


def test_the_methods_of_all() -> None:
    other = Service("other")
    walk = Method("other.walk", Nothing, str)
    other.method(walk)(run)
    registry = Registry([service_of(run), other])
    assert list(registry.endpoints) == ["probe.run", "other.walk"]
    assert registry.methods[1] is walk
    assert registry.endpoints["other.walk"].service == "other"
    assert Registry([]).methods == ()
