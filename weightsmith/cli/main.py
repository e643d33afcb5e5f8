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
    from weightsmith.process import signals

    signals.end_at_once()  # as long as there is nothing to clean up: modules are still imported
    import sys

    from weightsmith.cli import terminal
    from weightsmith.cli.group import run

    terminal.open_streams()
    try:
        with signals.unwound_by_signals():
            code = run(sys.argv[1:])
    except KeyboardInterrupt as error:
        terminal.say(f"error: interrupted; {str(error) or 'nothing half-done was left behind'}")
        terminal.flush()
        signals.end_by(error)
    sys.exit(terminal.delivered(code))
