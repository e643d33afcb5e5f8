"""Driver, CANN and NNAL: whether they are there, within this shell's reach, and of versions that belong together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.machine import chips, pins
from weightsmith.machine.diagnosis import Finding
from weightsmith.machine.findings.chips import chip_name, works
from weightsmith.machine.probe import LIBRARIES

if TYPE_CHECKING:
    from weightsmith.machine.diagnosis import Verdict
    from weightsmith.machine.facts import Facts, Nnal, Toolkit
    from weightsmith.machine.pins import Wanted

# Characters of what the loader says; a file that says it is a dump may hold more.
_LONGEST = 1500
_NOT_FOUND = "cannot open shared object file"
_DRIVER = "/usr/local/Ascend/driver"
# CANN -> the oldest driver that supports it, by the release notes of CANN ("CANN and Ascend HDK").
_OLDEST_DRIVER = {(9, 1): (25, 2), (9, 0): (25, 0), (8, 5): (25, 0), (8, 2): (24, 1)}


def variables(facts: Facts) -> Finding:
    """Variables of a CANN that is gone: what an old login script sets after an upgrade."""
    if not facts.missing_folders:
        return Finding("cann variables", "ok", "every folder that a variable names is there")
    name, folder = next(iter(facts.missing_folders.items()))
    others = f" ({len(facts.missing_folders)} variables)" if len(facts.missing_folders) > 1 else ""
    fix = f"unset {' '.join(facts.missing_folders)}"
    if kit := best_toolkit(facts):
        fix = f"in a fresh shell: {sourcing(facts, kit)} (and take the old one out of the login script)"
    found = f"{name}={folder}{others}, which is not there"
    return Finding("cann variables", "fail", found, "a folder that is there", fix)


def best_toolkit(facts: Facts) -> Toolkit | None:
    """The CANN to source: the one that vllm-ascend is matched with, else the newest that has a script."""
    wanted = pins.cann(facts)
    there = [kit for kit in facts.toolkits if kit.set_env]
    for version in wanted.exact if wanted else ():
        for kit in there:
            if kit.version == version:
                return kit
    return max(there, key=lambda kit: numbers(kit.version or "0"), default=None)


def numbers(version: str) -> tuple[int, ...]:
    """(9, 1, 0) of "9.1.0", (8, 3) of "8.3.RC1"."""
    found = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def sourcing(facts: Facts, kit: Toolkit) -> str:
    """The command that brings a CANN into this shell, and NNAL where it is not there either."""
    command = f"source {kit.set_env}"
    nnal = next((one for one in facts.nnals if one.set_env), None)
    if facts.libraries.get("libatb.so") and nnal:
        command += f" && source {nnal.set_env}"
    return command


def cann(facts: Facts) -> Finding:
    """Whether CANN's libraries load here."""
    missing = _missing(facts, "cann")
    if not missing:
        where = facts.sourced.home if facts.sourced else "on the search path"
        return Finding(
            "cann", "ok", f"its libraries {_loaded(facts, 'cann')} ({where})", "libascendcl.so and its like"
        )
    name, error = missing[0]
    if not facts.is_meant_for_npu:
        return Finding("cann", "absent", error, name)
    kit = best_toolkit(facts)
    because = ("cann variables",)
    if kit is None:
        wanted = pins.cann(facts)
        version = f" {wanted.exact[0]}" if wanted else ""
        image = pins.image(facts, chip_name(facts))
        fix = f"install CANN{version} (toolkit, operators and NNAL){f', or use {image}' if image else ''}"
        found = (
            f"CANN is not installed: {name} is not found"
            if not facts.toolkits
            else f"CANN has no set_env.sh, and {name} is not found"
        )
        return Finding("cann", "fail", found, name, fix, because)
    fresh = "in a fresh shell: " if facts.sourced else ""
    place = facts.on_disk.get(name)
    lies = f", which lies in {place}" if place else ""
    found = f"CANN {kit.version} is in {kit.home}, and this shell does not find its {name}{lies}"
    if _NOT_FOUND not in error:
        found = f"{name} of CANN {kit.version} in {kit.home} does not load: {error}"
    return Finding("cann", "fail", found, name, f"{fresh}{sourcing(facts, kit)}", because)


def _missing(facts: Facts, layer: str) -> list[tuple[str, str]]:
    """Libraries of a layer that do not load. One that no CANN here holds is not missed while the others load; one that
    is found, and needs a library of another layer, is not missed either."""
    of_layer = [name for name, owner in LIBRARIES.items() if owner == layer]
    failed = [
        (name, error)
        for name in of_layer
        if (error := facts.libraries.get(name)) is not None and _layer_of(error, layer) == layer
    ]
    if len(failed) == len(of_layer):
        return failed
    return [(name, error) for name, error in failed if name in facts.on_disk]


def _layer_of(error: str, otherwise: str) -> str:
    """The layer of the library that the loader does not find, which may be one that the wanted one needs."""
    lost = re.search(r"(lib[\w+.-]+?\.so)\S*: " + _NOT_FOUND, error[:_LONGEST])
    return LIBRARIES.get(lost[1], otherwise) if lost else otherwise


def _loaded(facts: Facts, layer: str) -> str:
    """Of a layer whose libraries are there: whether they load, or need one of another layer."""
    waits = any(facts.libraries.get(name) for name, owner in LIBRARIES.items() if owner == layer)
    return "are found, and need what is not" if waits else "load"


def driver(facts: Facts) -> Finding:
    """Whether the host's driver is within reach: mounted into the container, and on the search path."""
    missing = _missing(facts, "driver")
    told = f"driver {facts.driver.version}" if facts.driver.version else "driver of unknown version"
    # CANN holds a stand-in of libascend_hal.so to build with; it loads, and drives nothing.
    stand_in = bool(facts.chips) and not facts.driver.libraries and not facts.counted
    if not missing and not stand_in:
        return Finding("driver", "ok", f"{told}, its libraries load", "libascend_hal.so")
    if not facts.is_meant_for_npu:
        return Finding("driver", "absent", "libascend_hal.so is not found", "libascend_hal.so")
    if not facts.driver.libraries:
        seen = f"{told} is here, its libraries are not" if facts.driver.source else "the host's driver is not"
        fix = (
            f"docker run -v {_DRIVER}/lib64:{_DRIVER}/lib64 -v {_DRIVER}/version.info:{_DRIVER}/version.info"
        )
        family = chips.family_of(chip_name(facts) or facts.build or "")
        if family and family.name == "A5":
            fix = f"docker run -v {_DRIVER}:{_DRIVER} (HCCL reads driver/topo)"
        if facts.container.kind == "bare metal":
            fix += "; on the host itself: install the driver (Ascend-hdk-<chip>-npu-driver)"
        return Finding(
            "driver",
            "fail",
            f"{seen} mounted: libascend_hal.so is {'a stand-in' if not missing else 'not found'}",
            "libascend_hal.so",
            fix,
        )
    folders = ":".join(facts.driver.libraries)
    fix = f"export LD_LIBRARY_PATH={folders}:$LD_LIBRARY_PATH (CANN's set_env.sh does it, too)"
    found = f"{told} lies in {facts.driver.libraries[0]}, and this shell does not find its libascend_hal.so"
    return Finding("driver", "fail", found, "libascend_hal.so", fix, ("cann", "cann variables"))


def nnal(facts: Facts) -> Finding:
    """Whether NNAL's libraries load: vllm-ascend's attention lives there."""
    missing = _missing(facts, "nnal")
    here = _nnal_here(facts)
    if not missing:
        version = f"NNAL {here.version}" if here and here.version else "NNAL"
        return Finding("nnal", "ok", f"{version}, its libraries {_loaded(facts, 'nnal')}", "libatb.so")
    _, error = missing[0]
    if not facts.is_meant_for_npu or not {"torch-npu", "vllm-ascend"} & facts.packages.keys():
        return Finding("nnal", "absent", error, "libatb.so")
    if here is None or here.set_env is None:
        version = (
            f"_{facts.sourced.version}" if facts.sourced and facts.sourced.version else "_<CANN's version>"
        )
        fix = f"install Ascend-cann-nnal{version} (operators for transformers), then source its set_env.sh"
        return Finding("nnal", "fail", "NNAL is not installed: libatb.so is not found", "libatb.so", fix)
    found = f"NNAL is in {here.home}, and this shell does not find its libatb.so"
    if _NOT_FOUND not in error:
        found = f"libatb.so of the NNAL in {here.home} does not load: {error}"
    because = ("cann",) if best_toolkit(facts) else ()  # sourced together with CANN
    return Finding("nnal", "fail", found, "libatb.so", f"source {here.set_env}", because)


def _nnal_here(facts: Facts) -> Nnal | None:
    """The NNAL that this shell uses: the one its variable names, else the one that is installed."""
    named = facts.environment.get("ATB_HOME_PATH", "")
    of_shell = (one for one in facts.nnals if named.startswith(f"{one.home}/"))
    return next(of_shell, None) or next(iter(facts.nnals), None)


def cann_version(facts: Facts) -> Finding:
    """The CANN in use against the one that vllm-ascend was matched with."""
    wanted = pins.cann(facts)
    kit = facts.sourced or (best_toolkit(facts) if len(facts.toolkits) == 1 else None)
    if wanted is None:
        found = kit.version if kit and kit.version else "not found"
        return Finding("cann version", "absent", found, "vllm-ascend and torch_npu name none")
    if kit is None or kit.version is None:
        verdict: Verdict = "warn" if facts.is_meant_for_npu else "absent"
        return Finding(
            "cann version", verdict, "no CANN in use here", wanted.words, "", ("cann", "cann variables")
        )
    if kit.version in wanted.exact:
        return Finding("cann version", "ok", kit.version, wanted.words)
    return _other_cann(facts, kit, wanted)


def _other_cann(facts: Facts, kit: Toolkit, wanted: Wanted) -> Finding:
    """Another one than was wanted: a fault, unless it differs in the third number alone and no better one is there."""
    right = next((k for v in wanted.exact for k in facts.toolkits if k.version == v), None)
    found = f"CANN {kit.version} in {kit.home}, and {wanted.source} is matched with {wanted.words}"
    if right is not None and right.set_env:
        found += f", which lies in {right.home}"
        return Finding(
            "cann version", "fail", found, wanted.words, f"in a fresh shell: source {right.set_env}"
        )
    best = wanted.exact[0]
    image = pins.image(facts, chip_name(facts))
    fix = (
        f"install CANN {best} (toolkit, operators and NNAL), or use the image {image}"
        if image
        else f"install CANN {best}"
    )
    near = numbers(kit.version or "")[:2] in {numbers(one)[:2] for one in wanted.exact}
    return Finding("cann version", "warn" if near else "fail", found, wanted.words, fix, ("cann variables",))


def nnal_version(facts: Facts) -> Finding:
    """NNAL and CANN go in one version; torch_npu's symbols are missing from an older one."""
    here, kit = _nnal_here(facts), facts.sourced
    if here is None or here.version is None or kit is None or kit.version is None:
        return Finding("nnal version", "absent", "not told")
    if here.version == kit.version:
        return Finding("nnal version", "ok", here.version, kit.version)
    wanted = pins.cann(facts)
    best = kit.version if wanted is None or kit.version in wanted.exact else wanted.exact[0]
    fix = f"install Ascend-cann-nnal_{best}, then source {here.set_env or 'its set_env.sh'} in a fresh shell"
    found = f"NNAL (ATB) {here.version} in {here.home} beside CANN {kit.version}"
    return Finding("nnal version", "warn", found, best, fix, ("cann version",))


def driver_version(facts: Facts) -> Finding:
    """Drivers of an Atlas 350, 850 or 950 count their own; a driver newer than CANN's notes is no fault."""
    version, kit = facts.driver.version, facts.sourced or best_toolkit(facts)
    family = chips.family_of(chip_name(facts) or facts.build or "")
    if version is None or kit is None or kit.version is None or (family and family.name == "A5"):
        return Finding("driver version", "absent", version or "not told")
    oldest = next((d for c, d in _OLDEST_DRIVER.items() if numbers(kit.version)[:2] >= c), None)
    if oldest is None or numbers(version)[:2] >= oldest:
        return Finding("driver version", "ok", f"driver {version} under CANN {kit.version}")
    words = f"{oldest[0]}.{oldest[1]}"
    fix = f"upgrade the driver (Ascend HDK) on the host to {words} or later: no container can"
    found = f"driver {version} under CANN {kit.version}, which supports {words} and later"
    return Finding("driver version", "warn", found, f"{words} or later", fix)


def operators(facts: Facts) -> Finding:
    """CANN's operators for this chip are a package of their own. One that has run is proof that they are there."""
    kit, family = facts.sourced, chips.family_of(chip_name(facts) or facts.build or "")
    if kit is None or family is None or not facts.chips:
        return Finding("operators", "absent", "no CANN in use, or no chip known")
    there = any(folder.startswith(family.operators) for folder in kit.operators)
    if there or works(facts):
        return Finding("operators", "ok", f"CANN {kit.version} has operators for {family.operators}")
    version = kit.version or "<its version>"
    package = f"Ascend-cann-{family.package}-ops_{version}"
    if numbers(version) < (8, 5):
        package = f"Ascend-cann-kernels-{family.package}_{version}"
    others = f" (it has those for {', '.join(kit.operators)})" if kit.operators else ""
    found = f"CANN {version} in {kit.home} holds no operators (kernels) for {family.package}{others}"
    return Finding(
        "operators", "fail", found, family.operators, f"install {package}", ("cann version", "chip")
    )
