"""Hostile and odd inputs, each given to the real program under limits.

A case (`attempt.Case`) makes its input in an empty folder and returns the words of one command. The program runs as a
process of its own, with a home, a temporary folder and a canary of its own. What must come out is the same for all:

- exit 0, 1 or 2, or fewer of these where the case says so, and no traceback;
- at most one line that begins with `error:`, of at most 600 characters, and no internal error;
- no control or bidi characters on stdout and stderr;
- at most 2 s of CPU and 500 MB (the tests allow twice the time: their machine does other things as well);
- nothing executed, nothing left in the temporary folder, nothing changed in the home or in the case's folder but
  what the case says the command writes.

Where a case needs what this machine lacks (a C compiler, the right to mount), it is skipped, and the reason is said.

Cases stand in `cases_*.py`, each of which has `CASES`. Their names are `kind.what`. `test_hostile.py`, which is part of
`make test` and its half an hour, runs every eleventh one of the kinds that have many; `make hostile`, which is
`python -m tests.hostile [PART OF A NAME …]`, runs all of them and prints what came out, kind by kind.
"""
