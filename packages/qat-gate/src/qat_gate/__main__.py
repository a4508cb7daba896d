"""`python -m qat_gate`."""

from qat_gate.cli import main

if __name__ == "__main__":
    main()
