"""A campaign: many comparisons from one file, the most informative training runs first, within a budget of hours."""
