"""Programs that the tests put into the guest. There they are modules of their own, beside an installed superd."""
