"""`python -m anypet` is the `anypet` command."""

from anypet.cli import main

main()
