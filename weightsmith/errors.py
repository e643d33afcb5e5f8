"""One small tree of errors; every one names the file, the fact and the way out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.documents import ErrorDocument


class WeightsmithError(Exception):
    """Something could not be done: the command line prints it as one line and exits 2.

    subject: what it is about, usually a file; shown as text.
    fact: what was found there, with the numbers.
    way_out: what the user can do about it.
    """

    def __init__(self, subject: object, fact: str, way_out: str) -> None:
        self.subject, self.fact, self.way_out = str(subject), fact, way_out
        super().__init__(f"{self.subject}: {fact}; {way_out}")

    @property
    def kind(self) -> str:
        """The name of the class as JSON has it: "missing-input"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(self).__name__).lower()

    def document(self) -> ErrorDocument:
        """What the command line prints instead of a result with `--json`."""
        return {
            "error": {
                "kind": self.kind,
                "where": self.subject,
                "what": self.fact,
                "way_out": self.way_out,
            }
        }


class Usage(WeightsmithError):
    """The arguments of a command or of a function make no sense together."""


class MissingInput(WeightsmithError):
    """A file or folder that the user named is absent or may not be read."""


class UnknownFormat(WeightsmithError):
    """The bytes are no checkpoint format that weightsmith reads."""


class CorruptCheckpoint(WeightsmithError):
    """The file is damaged or truncated: what it states of itself does not hold."""


class HostileCheckpoint(WeightsmithError):
    """The file asks for something that no honest checkpoint needs (code, paths outside, bombs)."""


class InvalidConfig(WeightsmithError):
    """A JSON side file (config, index, tokenizer) cannot be used."""


class UnknownFamily(WeightsmithError):
    """No family of the catalog explains the tensors."""


class InvalidPage(WeightsmithError):
    """A family page of the catalog is not well formed."""


class ConversionRefused(WeightsmithError):
    """The weights are not what the converter needs, or converting them would damage them."""


class TargetRefused(WeightsmithError):
    """The output path cannot be written: not empty, read-only, no space."""


class MissingDevice(WeightsmithError):
    """The asked-for accelerator is not there."""


class MissingPackage(WeightsmithError):
    """A package that only this command needs is not installed."""


class EngineFailed(WeightsmithError):
    """The inference engine or the reference could not be run to its end."""


class MachineFault(WeightsmithError):
    """The operating system refused what a command needs: memory, a thread, a file."""


class Internal(WeightsmithError):
    """A fault of weightsmith itself: an exception that nobody expected."""
