"""Composes the qat packages into ladder stages; `tasks.py` at the root of the repository is its front."""
