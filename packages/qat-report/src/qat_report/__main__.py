"""`python -m qat_report`."""

from qat_report.cli import main

if __name__ == "__main__":
    main()
