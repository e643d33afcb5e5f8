"""`make bench-wheels`: whether every core dependency has a wheel for each Python and machine that is promised.

pip resolves them as it would there, for Linux with glibc 2.28 (openEuler 22, Ubuntu 20.04 and later), and downloads
nothing where the index tells metadata apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib import metadata

from tabulate import tabulate

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")


def requirements() -> list[str]:
    """The core dependencies, without those of extras."""
    return [text for text in metadata.requires("weightsmith") or [] if "extra ==" not in text]


def resolved(python: str, machine: str) -> dict[str, str] | str:
    """Package → version as pip would install them from wheels alone, or pip's last line where it could not."""
    platforms = [f"--platform={tag}_{machine}" for tag in ("manylinux_2_28", "manylinux2014")]
    with tempfile.TemporaryDirectory() as target:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--dry-run",
            "--ignore-installed",
            "--report=-",
        ]
        command += ["--disable-pip-version-check", "--only-binary=:all:", f"--target={target}"]
        command += ["--implementation=cp", f"--python-version={python}", *platforms, *requirements()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    chosen = [entry["metadata"] for entry in json.loads(done.stdout)["install"]]
    return {str(package["name"]): str(package["version"]) for package in chosen}


def main() -> None:
    rows, failed = [], False
    for machine in MACHINES:
        for python in PYTHONS:
            found = resolved(python, machine)
            failed |= isinstance(found, str)
            told = (
                found if isinstance(found, str) else ", ".join(f"{n} {v}" for n, v in sorted(found.items()))
            )
            rows.append((machine, python, told))
    print(
        tabulate(
            rows,
            headers=["machine", "Python", "wheels"],
            disable_numparse=True,
            maxcolwidths=[None, None, 90],
        )
    )
    sys.exit(failed)


if __name__ == "__main__":
    main()
