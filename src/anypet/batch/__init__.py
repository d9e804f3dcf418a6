"""Many scans: one task over a list of cases, on several workers, resumable after any kill."""
