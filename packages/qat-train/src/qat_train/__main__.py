"""`python -m qat_train`."""

from qat_train.cli import main

if __name__ == "__main__":
    main()
