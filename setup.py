"""The packages of the wheel: what is found under weightsmith/, converters/ under its installed name, and docs/.

Everything else stands in pyproject.toml; a package that lies elsewhere than its name says can only be added here.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildAnew(build_py):
    """setuptools packs all that lies in build/, with what an earlier build left there of files that are gone."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "weightsmith", ignore_errors=True)
        super().run()


setup(
    packages=[*find_packages(include=["weightsmith*"]), "weightsmith.converters", "weightsmith.docs"],
    cmdclass={"build_py": BuildAnew},
)
