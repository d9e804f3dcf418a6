"""The page that a physician signs: its content as data, as one HTML file and as PDF."""
