"""What setup.cfg cannot say: modules that are compiled, on machines where that can be done."""

from setuptools import Extension, setup


def compiled(name: str) -> Extension:
    """A module of tracker.clicks; without a C compiler or Python's headers Kopeck does without."""
    return Extension(
        f"tracker.clicks.{name}",
        [f"tracker/clicks/{name}.pyx"],
        include_dirs=["tracker/clicks"],
        depends=["tracker/clicks/_bytes.h"],
        optional=True,
    )


setup(ext_modules=[compiled("_redirect"), compiled("_batch")])
