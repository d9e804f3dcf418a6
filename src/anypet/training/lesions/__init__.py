"""Training of the two-headed lesion network and of the tracer discriminator."""
