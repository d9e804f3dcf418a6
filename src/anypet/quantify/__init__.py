"""Measures from masks: what a report carries and what a study collects."""
