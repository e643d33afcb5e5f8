"""`python -m weightsmith.cli` is the command line."""

if __name__ == "__main__":
    from weightsmith.process.at_once import leave_out_current_folder

    leave_out_current_folder()
    from weightsmith.cli import main

    main()
