"""Networks that nnU-Net trained, run as ours are: their channels, their folders, their predictor."""
