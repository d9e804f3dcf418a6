"""Promptable networks: one package per family, and the registry that finds and loads them."""
