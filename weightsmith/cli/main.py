"""Begins and ends the program: streams that cannot fail, signals that unwind it, and the exit code."""

from __future__ import annotations

TYPE_CHECKING = False  # see weightsmith.cli
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line: never a traceback for the user, unless WEIGHTSMITH_DEBUG=1.

    Exits 0 or 1 as the command decides, and 2 when it could not be done or its result could not be written. Ends by
    the signal that interrupted it. A reader that goes away (`| head`) and a closed stream change no exit code.
    """
    from weightsmith.process.at_once import end_at_once

    end_at_once()  # as long as there is nothing to clean up: modules are still imported
    import sys

    from weightsmith.cli import streams, terminal
    from weightsmith.cli.group import run
    from weightsmith.process import signals

    streams.open_streams()
    try:
        # The other signals end it at once, but where a block has something to clean up.
        with signals.unwound_by_signals(signals.CTRL_C):
            code = run(sys.argv[1:])
    except KeyboardInterrupt as error:
        from weightsmith.phrases import Sentence, say

        left = Sentence(str(error) or "nothing half-done was left behind")
        terminal.aside(say("error: interrupted; {left}", left=left))
        terminal.flush()
        signals.end_by(error)
    sys.exit(terminal.delivered(code))
