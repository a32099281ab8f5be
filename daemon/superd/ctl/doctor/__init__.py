"""superctl doctor: facts are gathered once (`gathering`), checks make findings of them, and `command` tells them.

Checks read no file and run no command: they see `facts.Facts` alone, so each bad state is a test with facts made by hand.
"""
