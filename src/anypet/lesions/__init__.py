"""Every lesion of a whole-body scan, with no click or a few: QuantIF's autoPET IV method."""
