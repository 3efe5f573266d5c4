"""The installed packages are within the bounds of requirements.txt and requirements-dev.txt."""

from importlib.metadata import version

from packaging.requirements import Requirement

from tests.support.commands import REPOSITORY


def read_requirements() -> list[Requirement]:
    files = (REPOSITORY / "requirements.txt", REPOSITORY / "requirements-dev.txt")
    lines = [line.partition("#")[0].strip() for file in files for line in file.open()]
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def test_installed_packages_are_within_their_bounds():
    required = [
        package for package in read_requirements() if package.marker is None or package.marker.evaluate()
    ]
    wrong = [
        f"{package} (installed: {version(package.name)})"
        for package in required
        if not package.specifier.contains(version(package.name), prereleases=True)
    ]
    assert not wrong, f"pip install -r requirements-dev.txt, since these are required: {', '.join(wrong)}"


def test_fast_moving_packages_have_an_upper_bound():
    bounded = {
        package.name
        for package in read_requirements()
        if any(bound.operator == "<" for bound in package.specifier)
    }
    assert bounded >= {"transformers", "accelerate", "huggingface_hub", "datasets", "deepspeed"}
