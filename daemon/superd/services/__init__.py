"""Built-in services. They know models and `Context`, never a socket."""
