"""Other people's systems behind the project's own evaluation, and the benchmark that runs them all.

Each is a small adaptor around the published code; its weights are the user's to supply. `registry.py` says
what there is, under which licence and how the weights are had.
"""
