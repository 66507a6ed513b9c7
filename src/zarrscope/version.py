"""The version of zarrscope, said once."""

__version__ = "0.1.0"
