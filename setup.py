"""The packages of the wheel: what is found under weightsmith/, converters/ under its installed name, and docs/.

Everything else stands in pyproject.toml; a package that lies elsewhere than its name says can only be added here, and
so can a file that the build makes: the index of names (weightsmith/shapes/family/index_file.py).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

MAKE_INDEX = """
import sys
sys.path.insert(0, sys.argv[1])
from weightsmith.shapes.family.index_file import write_index
write_index(pages_may_change=sys.argv[2] == "in place")
"""


class BuildAnew(build_py):
    """setuptools packs all that lies in build/, with what an earlier build left there of files that are gone."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            make_index(Path(__file__).resolve().parent, "in place")
            return
        shutil.rmtree(Path(self.build_lib) / "weightsmith", ignore_errors=True)
        super().run()
        make_index(Path(self.build_lib).resolve(), "packed")


def make_index(root: Path, how: str) -> None:
    """Lets the weightsmith in `root` make its index: with Python's own library alone, whatever else is installed."""
    subprocess.run([sys.executable, "-BIS", "-c", MAKE_INDEX, str(root), how], check=True)


setup(
    packages=[*find_packages(include=["weightsmith*"]), "weightsmith.converters", "weightsmith.docs"],
    cmdclass={"build_py": BuildAnew},
)
