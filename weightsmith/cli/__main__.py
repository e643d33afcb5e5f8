"""`python -m weightsmith.cli` is the command line."""

import weightsmith.__main__  # noqa: F401  # takes the current folder out of sys.path
from weightsmith.cli import main

if __name__ == "__main__":
    main()
