"""`python -m weightsmith` is the command line."""

import sys

# `python -m` imports from the current folder first, which may be a stranger's model with a json.py in it.
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from weightsmith.cli import main

if __name__ == "__main__":
    main()
