"""The rows of the table: each breaks one kind of thing."""
