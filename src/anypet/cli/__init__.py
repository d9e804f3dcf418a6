"""The `anypet` command: one small module per command; they parse, call the library and print."""


def main() -> None:
    """Entry point of the `anypet` command."""
    from anypet.cli.app import main as run

    run()
