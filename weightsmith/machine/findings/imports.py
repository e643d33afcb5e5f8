"""What happened when the packages were really imported, the platform chosen, and an operator run.

An error's text names the missing library, symbol or module; where that belongs tells which finding explains it. The
same text without such a finding stands by itself, with the command that mends it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.machine import pins
from weightsmith.machine.chips import family_of
from weightsmith.machine.diagnosis import Finding
from weightsmith.machine.findings.chips import chip_name
from weightsmith.machine.findings.versions import together
from weightsmith.machine.probe import LIBRARIES

if TYPE_CHECKING:
    from weightsmith.machine.facts import Facts, Probe

# Characters of an error: a probe tells no more, a file that says it is a dump may.
_LONGEST = 1500
_LAYERS = ("cann variables", "cann", "driver", "nnal", "nnal version", "cann version")
_LOST = re.compile(r"(lib[\w+.-]+?\.so[.\d]*): cannot open shared object file")
_SYMBOL = re.compile(r"undefined symbol: (\S+)")
_CUT = re.compile(r"(lib[\w+.-]+\.so[.\d]*)\S*: (?:file too short|invalid ELF header)")
_TLS = re.compile(r"(/[^\s'\"]+\.so[.\d]*): cannot allocate memory in static TLS block")
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")
# Module -> the distribution that brings it, where the names differ (what CANN's operator compiler imports).
_DISTRIBUTIONS = {
    "attr": "attrs",
    "absl": "absl-py",
    "yaml": "pyyaml",
    "google": "protobuf",
    "cv2": "opencv-python-headless",
}
_GUESTS = {
    "torchcodec": "torchcodec",
    "torchvision": "torchvision",
    "torchaudio": "torchaudio",
    "triton": "triton-ascend",
}
# Words of an error -> what mends it where none of the findings explains it, and the findings that would.
_WORDS = (
    (r"np\.\w+` was removed|NumPy 2\.0", "pip install --no-deps 'numpy<2'", ("numpy",)),
    # CANN's codes: no operator for this chip; no such device.
    (
        r"561103|AclOpKernelInit|libopapi\.so",
        "install CANN's operators for this chip",
        ("cann variables", "operators", "cann version", "chip"),
    ),
    (r"107001|SetDevice", "npu-smi info on the host", ("visible devices", "devices", "npu-smi")),
    (r"[Oo]ut of memory|EL0004|207018", "npu-smi info lists who holds the chip's memory", ("memory",)),
    (r"soc_version|device type", "use the image of vllm-ascend for this chip", ("chip",)),
    (r"InvalidVersion|VLLM_VERSION", "export VLLM_VERSION to the release that this vLLM is", ("vllm",)),
    (r"getpwuid", "add this user to /etc/passwd", ("account",)),
    (
        r"backend extension",
        "to use torch without the NPU: export TORCH_DEVICE_BACKEND_AUTOLOAD=0",
        ("import torch_npu",),
    ),
)
_OF_TORCH = ("_ZN5torch", "_ZN3c10", "_ZNK3c10", "_ZN2at", "_ZNK2at", "_ZNK5torch")


def import_torch_npu(facts: Facts) -> Finding:
    return _imported(facts, "torch_npu", ())


def import_torch(facts: Facts) -> Finding:
    """As a program does it: torch loads torch_npu by itself."""
    return _imported(facts, "torch", ("import torch_npu",))


def import_vllm(facts: Facts) -> Finding:
    return _imported(facts, "vllm", ("import torch_npu", "import torch", "vllm", "transformers"))


def import_vllm_ascend(facts: Facts) -> Finding:
    return _imported(facts, "vllm_ascend", ("import torch_npu", "import torch", "import vllm"))


def _imported(facts: Facts, package: str, because: tuple[str, ...]) -> Finding:
    """because: what else would explain that it cannot be imported."""
    name, probe = f"import {package}", facts.probes.get(package)
    if probe is None:
        return Finding(name, "absent", "not installed")
    if probe.error is None:
        return Finding(name, "ok", probe.told.get("version") or "it imports")
    return _explained(name, facts, probe.error, probe, because)


def compiled(facts: Facts) -> Finding:
    """vllm-ascend's compiled operators; without them it works, slower and without sleep mode."""
    probe = facts.probes.get("vllm_ascend")
    if probe is None or probe.error is not None:
        return Finding("compiled part", "absent", "vllm_ascend could not be asked")
    error = probe.told.get("compiled")
    if error is None:
        return Finding("compiled part", "ok", "vllm_ascend_C loads")
    family = family_of(chip_name(facts) or facts.build or "")
    if family and family.name == "A5":  # vllm_ascend/utils.py turns all custom operators off there
        return Finding("compiled part", "absent", "not used on an A5")
    release = facts.packages.get("vllm-ascend", "")
    version = f"=={release}" if pins.row_of(facts) else ""
    fix = f"pip install --force-reinstall --no-deps vllm-ascend{version}"
    if image := pins.image(facts, chip_name(facts)):
        fix += f", or use the image {image}"
    found = f"vllm_ascend.vllm_ascend_C does not load: custom operators and sleep mode are off: {error}"
    return Finding(
        "compiled part", "warn", found, "it loads", fix, ("torch", "torch_npu", "cann", "nnal", "chip")
    )


def platform(facts: Facts) -> Finding:
    """Which platform vLLM chose, and why it is not the NPU's."""
    device, chosen = facts.told("vllm", "device"), facts.told("vllm", "platform")
    if chosen is None:
        return Finding("platform", "absent", "vLLM could not be asked")
    if "vllm-ascend" not in facts.packages or device == "npu":
        return Finding("platform", "ok", f"{chosen} ({device or 'no device'})")
    expected, found = "NPUPlatform", f"vLLM chose {chosen}"
    allowed = facts.environment.get("VLLM_PLUGINS")
    offered = facts.plugins.get("vllm.platform_plugins", ())
    release = f"=={facts.packages['vllm-ascend']}" if pins.row_of(facts) else ""
    if "ascend" not in offered:
        found += ": vllm-ascend has no entry point in vllm.platform_plugins"
        fix = f"pip install --force-reinstall --no-deps vllm-ascend{release}, so that its entry points are written"
        return Finding("platform", "fail", found, expected, fix)
    if allowed is not None and "ascend" not in _listed(allowed):
        found += f": VLLM_PLUGINS={allowed} leaves out ascend"
        fix = f"export VLLM_PLUGINS={','.join(['ascend', *_listed(allowed)])}, or unset VLLM_PLUGINS"
        return Finding("platform", "fail", found, expected, fix)
    fix = "python -c 'import vllm_ascend.platform' tells why its plugin did not load"
    because = ("import torch_npu", "import vllm_ascend", "vllm")
    return Finding(
        "platform", "fail", f"{found}: the plugin of vllm-ascend did not load", expected, fix, because
    )


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def operator(facts: Facts) -> Finding:
    """One addition on the chip: what all else is for."""
    probe = facts.probes.get("operator")
    if probe is None or not facts.chips:
        return Finding("operator", "absent", "no NPU to run one on")
    because = ("devices", "import torch_npu")
    if probe.error is not None:
        return _explained("operator", facts, probe.error, probe, because)
    total = probe.told.get("sum")
    if total is None:
        return Finding("operator", "fail", "no device to run one on", "32", "", because)
    if total != "32.0":
        fix = "another chip; npu-smi info -t health -i 0 on the host"
        return Finding("operator", "fail", f"1 + 1, 16 times, was {total} on the chip", "32", fix, because)
    return Finding("operator", "ok", "an addition on the chip is right")


def torchcodec(facts: Facts) -> Finding:
    """A guest that transformers and vLLM import where it is there; nothing of vllm-ascend needs it."""
    error = facts.told("guests", "torchcodec")
    if error is None:
        return Finding("torchcodec", "absent", "not installed, or it loads")
    if "vllm-ascend" not in facts.packages and "import vllm" in _healthy(facts):
        return Finding("torchcodec", "absent", error)
    found = f"torchcodec cannot be imported, and what imports it dies: {error}"
    return Finding("torchcodec", "fail", found, "it loads, or is not there", "pip uninstall -y torchcodec")


def torchvision_import(facts: Facts) -> Finding:
    """Its compiled operators load under the torch that they were built for, and no other."""
    error = facts.told("guests", "torchvision")
    if error is None:
        return Finding("import torchvision", "absent", "not installed, or it loads")
    if "vllm-ascend" not in facts.packages and "import vllm" in _healthy(facts):
        return Finding("import torchvision", "absent", error)
    wanted = pins.wanted(facts, "torchvision")
    if wanted is None:  # vLLM for a CPU does without it; vllm-ascend requires it
        fix = (
            "pip uninstall -y torchvision torchaudio torchcodec (builds for another torch break transformers)"
        )
    else:
        fix = together(facts, "torchvision", force=True)
    found = f"torchvision cannot be imported: {error}"
    return Finding(
        "import torchvision", "fail", found, "it imports", fix, ("torchvision", "torch", "import torch")
    )


def _healthy(facts: Facts) -> set[str]:
    probe = facts.probes.get("vllm")
    return {"import vllm"} if probe is not None and probe.error is None else set()


def _explained(name: str, facts: Facts, error: str, probe: Probe, because: tuple[str, ...]) -> Finding:
    """A failed attempt, with what its text points to first among the causes."""
    if probe.hung:
        fix = "npu-smi info on the host: if that hangs as well, reset the chip or reboot the host"
        if facts.npu_smi.chips:  # the driver is alive; its first answer to a cold chip takes its time
            fix = "run the doctor again: a cold chip's first answer has taken 20 s; if it hangs again, reset the chip"
        return Finding(name, "fail", error, "an answer", fix, ("npu-smi", "device files", *because))
    for reason in _REASONS:
        explanation = reason(facts, error[:_LONGEST], probe)
        if explanation is not None:
            fix, causes = explanation
            # A cause that the text itself points to comes before the package that was imported on the way.
            return Finding(name, "fail", error, "it works", fix, (*causes, *because))
    where = f"where it broke: {probe.through[-1]}" if probe.through else "that it names"
    fix = f"its own message says more; look into the package {where}"
    causes = tuple(f"import {package}" for package in reversed(probe.through))
    return Finding(name, "fail", error, "it works", fix, (*because, *causes, "account", *_LAYERS))


_Explanation = tuple[str, tuple[str, ...]]


def _thread_storage(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    found = _TLS.search(error)
    return None if found is None else (f"export LD_PRELOAD={found[1]}", ("import torch_npu",))


def _cut_short(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    """A file that an installation did not finish, or a package that lacks its own library."""
    own = _CUT.search(error)
    if own is None:
        lost = _LOST.search(error)
        own = lost if lost and re.search(r"torch|c10", lost[1]) else None
    if own is None:
        return None
    package = "torch-npu" if "npu" in own[1] or "op_plugin" in own[1] else "torch"
    if "vllm_ascend" in own[1]:
        return "pip install --force-reinstall --no-deps vllm-ascend", ("import torch_npu",)
    return together(facts, package, force=True), (package.replace("-", "_"), "torch", "import torch_npu")


def _lost_library(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    """The layer that a library belongs to: where it lies on this disk, or by its name."""
    lost = _LOST.search(error)
    if lost is None:
        return None
    layer = LIBRARIES.get(lost[1], "cann")
    return _bring(facts, lost[1]), (layer, *(one for one in _LAYERS if one != layer))


def _bring(facts: Facts, library: str) -> str:
    """What brings a library onto this shell's search path: the script of what holds it."""
    place = facts.on_disk.get(library)
    if place is None:
        wanted = pins.cann(facts)
        return f"nothing on this machine holds {library}: install CANN {wanted.exact[0] if wanted else ''}".rstrip()
    scripts = {kit.home: kit.set_env for kit in facts.toolkits} | {
        one.home: one.set_env for one in facts.nnals
    }
    for home, script in scripts.items():
        if script and place.startswith(f"{home}/"):
            return f"in a fresh shell: source {script} (it lies in {place})"
    return f"export LD_LIBRARY_PATH={place.rpartition('/')[0]}:$LD_LIBRARY_PATH"


def _undefined(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    """Whose symbol it is tells which two were built apart."""
    found = _SYMBOL.search(error)
    if found is None:
        return None
    symbol = found[1]
    if symbol.startswith(("_ZN3atb", "_ZNK3atb")):
        kit = facts.sourced
        version = kit.version if kit and kit.version else "<CANN's version>"
        fix = f"install Ascend-cann-nnal_{version}: this NNAL is older than torch_npu wants"
        return fix, ("nnal version", "nnal", "cann version", "torch_npu")
    if symbol.startswith(_OF_TORCH):
        fix = f"{together(facts, 'torch', 'torch-npu', force=True)} (the two were built apart)"
        return fix, ("torch", "torch_npu", "import torch_npu")
    fix = "a library of CANN, NNAL or the driver is of another version than torch_npu was built for"
    return fix, ("cann version", "nnal version", "driver version", "torch_npu", "import torch_npu")


def _lost_module(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    """A Python module that is not there. CANN's operator compiler imports some at the first operator."""
    found = _NO_MODULE.search(error)
    if found is None or found[1].startswith("triton"):  # a folder that two packages share: `_guest`
        return None
    package = found[1].partition(".")[0]
    name = _DISTRIBUTIONS.get(package, package.replace("_", "-"))
    same = "" if name == package.replace("_", "-") else f" (it brings the module {package})"
    return f"pip install --no-deps {name}{same}", (package, name, "cann variables", "import torch_npu")


def _told_by_words(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    return next(((fix, causes) for words, fix, causes in _WORDS if re.search(words, error)), None)


def _guest(facts: Facts, error: str, probe: Probe) -> _Explanation | None:
    """A package that others import on the way."""
    for package, name in _GUESTS.items():
        if package in probe.through or package in error:
            explained = ("torchcodec",) if package == "torchcodec" else (name, f"import {package}")
            fix = f"pip install --force-reinstall --no-deps {name}"
            return fix, (*explained, "torch")
    return None


# In this order: the more a text says by itself, the earlier.
_REASONS = (_thread_storage, _cut_short, _lost_library, _undefined, _lost_module, _told_by_words, _guest)
