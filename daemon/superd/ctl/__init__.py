"""superctl: superd from the shell. A client like any other: it knows superd_client and nothing inside the daemon.

The one command that is no client is `policy`, which reads what superd would read.

Each command is a module with `configure(parser)` and `run(arguments, session)`; commands.py lists them. What a
command does not need is not imported: a script may call superctl in a loop.
"""
