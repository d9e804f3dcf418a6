"""The `anypet` command: one small module per command; they parse, call the library and print."""

from anypet.cli.app import main

__all__ = ["main"]
