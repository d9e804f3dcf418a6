"""Training of the promptable networks: patches, click loop, losses, the run."""
