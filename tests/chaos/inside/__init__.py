"""What `tests.chaos` puts into its guest, under the same names, beside an installed superd."""
