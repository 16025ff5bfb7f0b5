"""`python -m openbei` is `bei`."""

from openbei.cli import main

if __name__ == "__main__":
    main(prog_name="bei")
