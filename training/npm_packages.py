"""The packages of npm that a page in the browser needs, at pinned versions: onnxruntime-web and chess.js."""

import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pooch

from cli.errors import InputError, first_line
from data.hub import cache_folder


REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True)
class NpmPackage:
    """A package with the SHA-256 of its tarball, and its files that are used, by their names there."""

    name: str
    version: str
    digest: str
    files: dict[str, str]

    @property
    def tarball(self) -> str:
        """The name of the file that `npm pack` writes."""
        return f"{self.name}-{self.version}.tgz"


PACKAGES = (
    # Of its builds the one without WebGPU, which has half the size.
    NpmPackage(
        "onnxruntime-web",
        "1.30.0",
        "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
        {
            "dist/ort.wasm.bundle.min.mjs": "onnxruntime.js",
            "dist/ort-wasm-simd-threaded.wasm": "onnxruntime.wasm",
        },
    ),
    NpmPackage(
        "chess.js",
        "1.4.0",
        "dce92e280439d7a16f645be94f22e6da50e579a1f3011d0a2381755bfe2c2ef7",
        {"dist/esm/chess.js": "chess.js", "LICENSE": "LICENSE.chess.js"},
    ),
)


def package_folder() -> Path:
    """Return the folder that keeps the tarballs."""
    return cache_folder().with_name("npm")


def fetch(package: NpmPackage) -> Path:
    """Return the tarball of a package, downloaded unless it is in `package_folder()`.

    Raises InputError if it cannot be downloaded, or its checksum differs.
    """
    url = f"{REGISTRY}/{package.name}/-/{package.tarball}"
    pooch.get_logger().setLevel("ERROR")
    try:
        tarball = pooch.retrieve(
            url,
            known_hash=f"sha256:{package.digest}",
            fname=package.tarball,
            path=package_folder(),
            progressbar=sys.stderr.isatty(),
        )
    # Errors of requests are OSErrors; ValueError is another checksum.
    except (OSError, ValueError) as error:
        raise InputError(
            f"{url} cannot be downloaded ({first_line(error)}): try again when online, or put the file of "
            f"`npm pack {package.name}@{package.version}` into {package_folder()}"
        ) from None
    return Path(tarball)


def unpack(package: NpmPackage, folder: Path) -> None:
    """Write the files of a package that are used to `folder`."""
    with tarfile.open(fetch(package)) as archive:
        for inside, name in package.files.items():
            found = archive.extractfile(f"package/{inside}")
            assert found is not None, "the checksum was right"
            (folder / name).write_bytes(found.read())
