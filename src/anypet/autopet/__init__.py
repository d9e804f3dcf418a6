"""The autoPET IV challenge: its clicks, its container contract and its interactive protocol."""
