"""The installed packages are within the bounds of requirements.txt."""

from importlib.metadata import version

from packaging.requirements import Requirement

from tests.commands import REPOSITORY


def read_requirements() -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in (REPOSITORY / "requirements.txt").open()]
    return [Requirement(line) for line in lines if line]


def test_installed_packages_are_within_their_bounds():
    required = [
        package for package in read_requirements() if package.marker is None or package.marker.evaluate()
    ]
    wrong = [
        f"{package} (installed: {version(package.name)})"
        for package in required
        if not package.specifier.contains(version(package.name), prereleases=True)
    ]
    assert not wrong, f"pip install -r requirements.txt, since these are required: {', '.join(wrong)}"


def test_fast_moving_packages_have_an_upper_bound():
    bounded = {
        package.name
        for package in read_requirements()
        if any(bound.operator == "<" for bound in package.specifier)
    }
    assert bounded >= {"transformers", "accelerate", "huggingface_hub", "datasets", "deepspeed"}
