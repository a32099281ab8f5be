"""An inventory: how many of what are on the shelf. `api` is for callers, `service` is what superd hosts."""
