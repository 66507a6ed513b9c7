"""Lets ``python -m zarrscope`` do what the command ``zarrscope`` does."""

from zarrscope.cli import main

main(prog_name="zarrscope")
