"""Ctrl-C while the program is still starting. Apart from `signals`, whose own imports take a while."""

from __future__ import annotations

# The C part of `signal`, which is there already: the module itself makes enumerations first.
import _signal  # type: ignore[import-not-found]


def end_at_once() -> None:
    """From now on Ctrl-C ends this process as other signals do, without a traceback: there is nothing to unwind.

    Only where Python's own handler is in place: whoever ignores SIGINT goes on ignoring it.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
