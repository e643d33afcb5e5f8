"""The chips: their device files, who may open them, what the driver says of them, and how many answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith import visible_devices
from weightsmith.machine import chips, pins
from weightsmith.machine.diagnosis import Finding
from weightsmith.machine.facts import small_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.machine.diagnosis import Verdict
    from weightsmith.machine.facts import Chip, Facts, Node

# Besides /dev/davinciN (vllm-ascend's documentation, "installation"); the A5's driver makes no devmm_svm.
CONTROL_NODES = ("davinci_manager", "devmm_svm", "hisi_hdc")
_VISIBLE = visible_devices.ASCEND
_INTERNAL, _IN_USE, _NO_RIGHT = -8005, -8020, -8002
# Shares of a chip's memory: an idle 910B4 has 3.4 of 32 GB in use by the driver; vLLM takes nine tenths of all.
_TAKEN = 0.15
_WORTH_SERVING = 0.3
_MIB_OF_GIB = 1024


def chip_name(facts: Facts) -> str | None:
    """What kind of chip it is: torch_npu's word, else npu-smi's."""
    named = facts.told("torch_npu", "name")
    if named:
        return named
    return next((chip.name for chip in facts.npu_smi.chips), None)


def works(facts: Facts) -> bool:
    """Whether a chip has computed something: no fault can be in its way."""
    return facts.told("operator", "sum") is not None


def device_files(facts: Facts) -> Finding:
    expected = "/dev/davinciN, " + ", ".join(f"/dev/{name}" for name in CONTROL_NODES)
    if not facts.chips:
        return _no_chips(facts, expected)
    found = ", ".join(f"/dev/{node.name}" for node in facts.chips)
    missing = [name for name in _needed(facts) if name not in {node.name for node in facts.nodes}]
    # What nobody misses is not missing: a driver that counts its chips has all that it needs.
    if not missing or facts.counted or facts.npu_smi.chips:
        return Finding("device files", "ok", found, expected)
    strange = [
        f"/dev/{node.name}" for node in facts.nodes if not node.is_chip and node.name not in CONTROL_NODES
    ]
    beside = f" (there is {', '.join(strange)})" if strange else ""
    fix = "start the container with " + " ".join(f"--device /dev/{name}" for name in missing)
    lacking = ", ".join(f"/dev/{name}" for name in missing)
    return Finding("device files", "fail", f"{found} without {lacking}{beside}", expected, fix)


def _needed(facts: Facts) -> tuple[str, ...]:
    family = chips.family_of(chip_name(facts) or facts.build or "")
    return tuple(
        name for name in CONTROL_NODES if not (family and family.name == "A5" and name == "devmm_svm")
    )


def _no_chips(facts: Facts, expected: str) -> Finding:
    """Software that is good for nothing but an NPU needs one; a CANN alone may be there to build with."""
    wants = {"torch-npu", "vllm-ascend"} & facts.packages.keys()
    if not wants:
        return Finding("device files", "absent", "no /dev/davinciN", expected)
    lacking = [name for name in _needed(facts) if name not in {node.name for node in facts.nodes}]
    options = " ".join(f"--device /dev/{name}" for name in ("davinci0", *lacking))
    fix = f"start the container with {options} (one --device for each chip)"
    if facts.container.kind == "bare metal":
        fix += "; on the host itself: install the driver, and see `npu-smi info`"
    return Finding("device files", "fail", "no /dev/davinciN: this machine was given no chip", expected, fix)


def permission(facts: Facts) -> Finding:
    """Who may open the device files: on the host they are HwHiAiUser's (1000:1000), 0660."""
    shut = [node for node in facts.nodes if not node.usable]
    expected = "this user may read and write them"
    if not facts.nodes:
        return Finding("permission", "absent", "no device files", expected)
    if not shut:
        return Finding("permission", "ok", f"all {len(facts.nodes)} device files can be opened", expected)
    node = shut[0]
    groups = ",".join(map(str, facts.user.groups))
    found = (
        f"uid {facts.user.uid} (groups {groups}) may not open {', '.join(f'/dev/{n.name}' for n in shut)}: "
        f"owner {node.owner}, group {node.group}, mode {node.mode:04o}"
    )
    if facts.user.uid == 0 and not facts.user.overrides:
        found += "; this root lacks CAP_DAC_OVERRIDE"
    return Finding("permission", "fail", found, expected, _admission(facts, node))


def _admission(facts: Facts, node: Node) -> str:
    by_group = node.mode & 0o060 == 0o060
    as_owner = f"--user {node.owner}:{node.group}"
    if facts.user.uid == 0:
        return (
            f"docker run --cap-add DAC_OVERRIDE, or {f'--group-add {node.group}' if by_group else as_owner}"
        )
    if not by_group:
        return f"docker run {as_owner}; on the host: sudo chmod 0660 /dev/davinci* and the other device files"
    inside = f"docker run --group-add {node.group} (or {as_owner}, or as root)"
    return f"{inside}; on the host: sudo usermod -aG HwHiAiUser $USER, then log in anew"


def npu_smi(facts: Facts) -> Finding:
    """The driver's own word."""
    smi, expected = facts.npu_smi, "it lists the chips"
    because = ("device files", "permission", "driver")
    if smi.program is None:
        return Finding("npu-smi", "absent", "not installed")
    if smi.hung or _torch_npu_hangs(facts):
        return _dead_driver(facts)
    if smi.code == _IN_USE:
        fix = (
            "stop the other container or process that holds the chip (on the host: npu-smi info, docker ps), or take "
            "another chip: --device /dev/davinciN"
        )
        found = "ret is -8020: the device is used, by another container or process"
        return Finding("npu-smi", "fail", found, expected, fix, because)
    if smi.code is not None:
        meaning = {_INTERNAL: "the driver's internal error", _NO_RIGHT: "a right is missing"}.get(
            smi.code, ""
        )
        found = f"ret is {smi.code}{f': {meaning}' if meaning else ''}"
        if all(node.usable for node in facts.nodes):
            found += ", although the device files can be opened"
        fix = (
            "npu-smi info on the host: if it works there, start the container anew with --privileged; if not, the "
            "driver is broken (reset the chip, or reboot the host)"
        )
        return Finding("npu-smi", "fail", found, expected, fix, because)
    if not smi.chips:
        verdict: Verdict = "warn" if facts.chips else "absent"
        return Finding(
            "npu-smi", verdict, smi.said or "no chip listed", expected, "npu-smi info on the host", because
        )
    return Finding("npu-smi", "ok", f"{len(smi.chips)} × {smi.chips[0].name}", expected)


def _torch_npu_hangs(facts: Facts) -> bool:
    probe = facts.probes.get("torch_npu")
    return bool(probe and probe.hung and facts.chips and not facts.npu_smi.chips)


def _dead_driver(facts: Facts) -> Finding:
    hung = ["npu-smi info"] if facts.npu_smi.hung else []
    hung += [f"import {name}" for name in ("torch_npu", "torch") if (p := facts.probes.get(name)) and p.hung]
    found = f"the driver does not answer: {' and '.join(hung)} never came back"
    fix = (
        "npu-smi info on the host; if it hangs there as well, reset the chip (npu-smi set -t reset -i 0 -c 0) "
        "or reboot the host"
    )
    return Finding("npu-smi", "fail", found, "it answers", fix)


def visible(facts: Facts) -> Finding:
    """Ids that this process is confined to. CANN ends the list at the first one that is not there, without a word."""
    value = facts.environment.get(_VISIBLE)
    count = len(facts.chips)
    if value is None or not facts.chips:
        return Finding("visible devices", "absent", f"{_VISIBLE} is not set", "all chips")
    ids = visible_devices.listed(value)
    wrong = [one for one in ids if (number := small_number(one)) is None or number >= count]
    expected = (
        f"ids from 0 to {count - 1}: inside a container they count from 0, whatever the host calls them"
    )
    if not ids or wrong:
        named = f"names no chip that is here ({count} are)" if ids else "is empty and hides every chip"
        every = ",".join(map(str, range(count)))
        fix = f"unset {_VISIBLE}, or export {_VISIBLE}={every}"
        return Finding("visible devices", "fail", f"{_VISIBLE}={value} {named}", expected, fix)
    return Finding("visible devices", "ok", f"{_VISIBLE}={value}", expected)


def devices(facts: Facts) -> Finding:
    """Whether torch counts the chips that it should: it calls an NPU available and counts none where ids are wrong."""
    count, value = facts.counted, facts.environment.get(_VISIBLE)
    if count is None:
        return Finding("devices", "absent", "torch_npu could not be asked")
    expected = len(facts.chips) if value is None else len(visible_devices.listed(value))
    found = f"{count} × {facts.told('torch_npu', 'name')}" if count else "torch counts 0"
    if count and count == expected:
        return Finding("devices", "ok", found, str(expected))
    fix = "npu-smi info on the host: a chip that it does not list is broken, or held by somebody else"
    because = ("visible devices", "device files", "permission", "driver", "npu-smi")
    found += f", and there are {len(facts.chips)} device files of chips"
    return Finding("devices", "warn" if count else "fail", found, str(expected), fix, because)


def chip(facts: Facts) -> Finding:
    """Whether the installed vllm-ascend was built for this chip."""
    name = chip_name(facts)
    if name is None:
        return Finding("chip", "absent", "no chip tells its name")
    if chips.is_unsupported(name):
        fix = (
            f"none on this machine: vllm-ascend supports {chips.SUPPORTED}; take a machine with another chip"
        )
        return Finding("chip", "fail", f"{name}, which no vllm-ascend supports", chips.SUPPORTED, fix)
    family, built = chips.family_of(name), chips.family_of(facts.build or "")
    if built is None or family is None or built == family:
        return Finding("chip", "ok", f"{name}{f' ({family.name})' if family else ''}", facts.build or "")
    found = f"{name} is {family.name}, and this vllm-ascend was built for {built.name} (_build_info.py)"
    image = (
        pins.image(facts, name) or f"the image of vllm-ascend whose tag ends in {family.image or 'no suffix'}"
    )
    build = f"SOC_VERSION={family.soc} pip install --no-deps --no-build-isolation -e . in its source"
    return Finding("chip", "fail", found, f"a build for {family.name}", f"{image}, or build it anew: {build}")


def health(facts: Facts) -> Finding:
    listed = facts.npu_smi.chips
    if not listed:
        return Finding("health", "absent", "npu-smi lists no chip")
    ill = [one for one in listed if one.health.upper() != "OK"]
    if not ill:
        return Finding("health", "ok", f"{len(listed)} × OK", "OK")
    found = ", ".join(f"{_called(one, listed)}: {one.health}" for one in ill)
    one = f"-i {ill[0].npu}" + (f" -c {ill[0].number}" if _has_more(ill[0], listed) else "")
    fix = f"npu-smi info -t health {one} tells why; take another chip, or reset this one on the host"
    return Finding("health", "warn", found, "OK", fix)


def _called(chip: Chip, listed: Sequence[Chip]) -> str:
    """How npu-smi's own commands name it: by its NPU, and by its number there where that NPU has two."""
    return f"NPU {chip.npu} chip {chip.number}" if _has_more(chip, listed) else f"chip {chip.npu}"


def _has_more(chip: Chip, listed: Sequence[Chip]) -> bool:
    return sum(one.npu == chip.npu for one in listed) > 1


def memory(facts: Facts) -> Finding:
    """What others hold of the chips' memory: vLLM wants nine tenths of all of it."""
    listed = [one for one in facts.npu_smi.chips if one.total]
    if not listed:
        return Finding("memory", "absent", "npu-smi tells no memory")
    taken = [one for one in listed if one.used > _TAKEN * one.total]
    if not taken:
        free = min(one.total - one.used for one in listed)
        return Finding("memory", "ok", f"{free / _MIB_OF_GIB:.1f} GiB free on each chip", "free")
    used = ", ".join(f"{_called(one, listed)}: {one.used} of {one.total} MiB HBM" for one in taken)
    holders = [f"{one.name} ({one.process}) {one.memory} MiB" for one in facts.npu_smi.holders]
    by = f"; held by {', '.join(holders[:4])}" if holders else ""
    share = min((one.total - one.used) / one.total for one in taken)
    fix = "npu-smi info lists who holds it: stop them, or take another chip"
    if share > _WORTH_SERVING:
        fix += f", or serve with --gpu-memory-utilization {share - 0.05:.2f}"
    return Finding("memory", "warn", f"memory in use: {used}{by}", "free", fix)
