"""Ascend chips by name: their family, the build of vllm-ascend that serves it, and CANN's operators for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Chips that one build serves. name: as `vllm_ascend/_build_info.py` has it. chips: beginnings of chips' names.

    image: the suffix of its images. operators: CANN's folder for it. package: CANN's word for it in a package's name.
    soc: a value of SOC_VERSION that builds for it.
    """

    name: str
    chips: tuple[str, ...]
    image: str
    operators: str
    package: str
    soc: str


# vllm-ascend's setup.py (`soc_to_device`) and its Dockerfiles; CANN's folders under opp/.../kernel.
FAMILIES = (
    Family("A2", ("910b", "a2g3"), "", "ascend910b", "910b", "ascend910b1"),
    Family("A3", ("910_9", "910c"), "-a3", "ascend910_93", "A3", "ascend910_9391"),
    Family("310P", ("310p",), "-310p", "ascend310p", "310p", "ascend310p3"),
    Family("A5", ("950",), "-a5", "ascend950", "950", "ascend950"),
)
SUPPORTED = "A2 (910B), A3 (910_93), 310P and 950"
# Of the generation before: CANN drives them, no vllm-ascend does.
_UNSUPPORTED = ("910a", "910pro", "910prem", "310b", "710")


def family_of(name: str) -> Family | None:
    """The family of a chip ("Ascend910B3", "910_9392") or of a build ("A2", "_310P"); None for any other."""
    plain = name.lower().replace(" ", "").removeprefix("ascend").lstrip("_")
    for family in FAMILIES:
        if plain == family.name.lower() or plain.startswith(family.chips):
            return family
    return None


def is_unsupported(name: str) -> bool:
    """Whether a chip is known, and known to have no vllm-ascend."""
    plain = name.lower().replace(" ", "").removeprefix("ascend")
    return plain.startswith(_UNSUPPORTED) or plain == "310"
