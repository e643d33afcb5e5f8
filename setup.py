"""The packages of the wheel: what is found under weightsmith/, converters/ under its installed name, and docs/.

Everything else stands in pyproject.toml; a package that lies elsewhere than its name says can only be added here.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["weightsmith*"]), "weightsmith.converters", "weightsmith.docs"])
