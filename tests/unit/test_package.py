"""The flat package names belong to us alone in this environment, and point the right way."""

from __future__ import annotations

from importlib.metadata import metadata, packages_distributions
from importlib.resources import files
from pathlib import Path

PACKAGES = ("bot", "adapters", "core", "models", "migrations")


def test_no_other_distribution_owns_one_of_our_names() -> None:
    owners = packages_distributions()
    root = Path(__file__).parents[2]
    for name in PACKAGES:
        assert set(owners.get(name, ["oculichat"])) == {"oculichat"}
        assert Path(str(files(name))).parent in (root, Path(str(files("core"))).parent)


def test_it_can_never_be_uploaded_by_mistake() -> None:
    classifiers = metadata("oculichat").get_all("Classifier") or []
    assert "Private :: Do Not Upload" in classifiers


def test_gpu_and_cpu_runtimes_are_declared_as_conflicting() -> None:
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert '[{ extra = "cpu" }, { extra = "gpu" }]' in pyproject
