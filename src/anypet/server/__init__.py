"""`anypet serve`: one session engine, and in front of it the protocols of the tools on people's desks."""
