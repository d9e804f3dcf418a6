"""The errors that AnyPET raises on purpose; each message names the field and the fix."""


class AnyPETError(ValueError):
    """Something the caller can mend: a file, a tag, a prompt, a setting."""


class ReadError(AnyPETError):
    """A scan, a label or a mask cannot be read as what was asked for."""


class SUVError(ReadError):
    """The PET is readable, but its SUV cannot be had; the message names the tag."""


class PromptError(AnyPETError):
    """A point, a box or a mask does not fit the scan."""


class WeightsError(AnyPETError):
    """Weights are missing, damaged or of another network; the message names the key."""
