"""What comes first in the program, and itself imports nothing that would have to be looked for."""

from __future__ import annotations

# The C part of `signal`, which is there already: the module itself makes enumerations first.
import _signal  # type: ignore[import-not-found]
import sys


def end_at_once() -> None:
    """From now on Ctrl-C ends this process as other signals do, without a traceback: there is nothing to unwind.

    Only where Python's own handler is in place: whoever ignores SIGINT goes on ignoring it.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def leave_out_current_folder() -> None:
    """For `python -m`, which imports from the current folder first: that may be a stranger's model with a json.py."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
