"""Measures models as readers would use them: metrics, click protocol, baselines, statistics, reports."""
