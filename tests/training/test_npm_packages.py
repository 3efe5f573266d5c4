"""Packages of npm are downloaded once, checked, and unpacked in part; without a network one line says so."""

import hashlib
import io
import tarfile

import pytest

from cli.errors import InputError
from tests.support.file_server import FileServer
from training.npm_packages import NpmPackage, fetch, package_folder, unpack


NOWHERE = "http://127.0.0.1:9"  # no server listens on this port


@pytest.fixture
def tarball(tmp_path, monkeypatch) -> bytes:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in ("package/dist/tiny.min.js", "package/dist/large.js"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return file.getvalue()


@pytest.fixture
def package(tarball) -> NpmPackage:
    digest = hashlib.sha256(tarball).hexdigest()
    return NpmPackage("tiny", "1.0.0", digest, {"dist/tiny.min.js": "tiny.js"})


def test_the_files_of_a_package_that_is_downloaded_once(package, tarball, tmp_path, monkeypatch):
    with FileServer({"tiny/-/tiny-1.0.0.tgz": tarball}) as server:
        monkeypatch.setattr("training.npm_packages.REGISTRY", server.url)
        for _ in range(2):
            unpack(package, tmp_path)
        assert server.downloads == [("tiny/-/tiny-1.0.0.tgz", 0)]
    assert (tmp_path / "tiny.js").read_text() == "package/dist/tiny.min.js"
    assert not list(tmp_path.glob("*large*"))


def test_another_tarball_is_refused(package, tarball, monkeypatch):
    with FileServer({"tiny/-/tiny-1.0.0.tgz": tarball}) as server:
        server.wrong = {"tiny/-/tiny-1.0.0.tgz"}
        monkeypatch.setattr("training.npm_packages.REGISTRY", server.url)
        with pytest.raises(InputError, match=r"tiny-1\.0\.0\.tgz cannot be downloaded .*hash"):
            fetch(package)
    assert not list(package_folder().iterdir())


def test_without_a_network_a_tarball_of_npm_will_do(package, tarball, monkeypatch):
    monkeypatch.setattr("training.npm_packages.REGISTRY", NOWHERE)
    with pytest.raises(InputError, match=r"npm pack tiny@1\.0\.0") as refused:
        fetch(package)
    assert "\n" not in str(refused.value) and str(package_folder()) in str(refused.value)
    (package_folder() / package.tarball).write_bytes(tarball)
    assert fetch(package) == package_folder() / package.tarball
