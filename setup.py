"""What setup.cfg cannot say: modules that are compiled, on machines where that can be done."""

from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("tracker/clicks")


def compiled(name: str) -> Extension:
    """A module of tracker.clicks; without a C compiler or Python's headers Kopeck does without.

    It carries the digest of its source, by which tracker/clicks/compiled.py knows one that an
    update has left behind.
    """
    sources = (FOLDER / f"{name}.pyx", FOLDER / "_bytes.h")
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return Extension(
        f"tracker.clicks.{name}",
        [str(sources[0])],
        include_dirs=[str(FOLDER)],
        depends=[str(sources[1])],
        define_macros=[("KOPECK_SOURCE", f'"{digest}"')],
        optional=True,
    )


setup(ext_modules=[compiled("_redirect"), compiled("_batch")])
