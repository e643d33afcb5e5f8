"""Weightsmith: is a model really what it says it is, and does it really run right here?

The names in `__all__` are the public library (docs/library.md). Each is imported when it is first used, so that
`import weightsmith` imports neither numpy nor torch.
"""

from __future__ import annotations

import sys
from types import ModuleType

from weightsmith.version import __version__

# Type checkers take this name for true. vLLM imports this file in every engine: not even `typing` is imported for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from weightsmith.check import Checked
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert import Conversion
    from weightsmith.errors import WeightsmithError
    from weightsmith.fits.answer import Answer
    from weightsmith.library import check, convert, diff, doctor, fits, infer, inspect, open, report, verify
    from weightsmith.machine import Diagnosis
    from weightsmith.report import Rendered
    from weightsmith.shapes import Inference
    from weightsmith.values.diff import CheckpointDifference
    from weightsmith.values.inspection import Inspection
    from weightsmith.verify import VerifyResult

__all__ = [
    "Answer",
    "Checked",
    "Checkpoint",
    "CheckpointDifference",
    "Conversion",
    "Diagnosis",
    "Inference",
    "Inspection",
    "Rendered",
    "VerifyResult",
    "WeightsmithError",
    "__version__",
    "check",
    "convert",
    "diff",
    "doctor",
    "fits",
    "infer",
    "inspect",
    "open",
    "report",
    "verify",
]

_DEFINED_IN = {
    "Answer": "weightsmith.fits.answer",
    "Checked": "weightsmith.check",
    "Checkpoint": "weightsmith.checkpoint",
    "Conversion": "weightsmith.convert",
    "Diagnosis": "weightsmith.machine",
    "CheckpointDifference": "weightsmith.values.diff",
    "Inference": "weightsmith.shapes",
    "Inspection": "weightsmith.values.inspection",
    "Rendered": "weightsmith.report",
    "VerifyResult": "weightsmith.verify",
    "WeightsmithError": "weightsmith.errors",
    "check": "weightsmith.library",
    "convert": "weightsmith.library",
    "diff": "weightsmith.library",
    "doctor": "weightsmith.library",
    "fits": "weightsmith.library",
    "infer": "weightsmith.library",
    "inspect": "weightsmith.library",
    "open": "weightsmith.library",
    "report": "weightsmith.library",
    "verify": "weightsmith.library",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used (PEP 562)."""
    from importlib import import_module

    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_DEFINED_IN[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


class _Package(ModuleType):
    """The type of this package: `weightsmith.check`, `convert`, `report` and `verify` are always the public functions.

    There are subpackages of the same names, and Python sets each as an attribute here once it is imported. That would
    replace the function. `from weightsmith.convert import …` does not need the attribute.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _DEFINED_IN and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
