"""`python -m weightsmith.cli` is the command line."""

from weightsmith.cli import main

if __name__ == "__main__":
    main()
