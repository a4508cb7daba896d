"""`python -m qat_train`."""

from qat_train.cli import main

main()
