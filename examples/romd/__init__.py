"""romd: asks superd at an interval what is on the shelf, and logs what it learns."""

__version__ = "0.1.0"
