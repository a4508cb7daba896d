"""`python -m qat_data`."""

from qat_data.cli import main

if __name__ == "__main__":
    main()
