"""`python -m qat_qc`."""

from qat_qc.cli import main

if __name__ == "__main__":
    main()
