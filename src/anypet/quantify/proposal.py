"""What a response criterion or a score comes to, with the inputs, the rule and the source it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

NOTICE = "A proposal for a physician, never a diagnosis."


@dataclass(frozen=True)
class Proposal:
    """A proposal.

    Args:
        criterion: such as "PERCIST 1.0".
        result: short, such as "PMR" or "412.3 mL".
        meaning: the result in words, and what led to it.
        inputs: everything that it was made of, by name.
        rule: the rule, a sentence a line.
        source: whose rule it is.
        warnings: why it may not hold.
    """

    criterion: str
    result: str
    meaning: str
    inputs: Mapping[str, Any]
    rule: tuple[str, ...]
    source: str
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "criterion": self.criterion,
            "result": self.result,
            "meaning": self.meaning,
            "inputs": dict(self.inputs),
            "rule": list(self.rule),
            "source": self.source,
            "warnings": list(self.warnings),
            "notice": NOTICE,
        }

    def rich(self) -> RenderableType:
        """For the screen."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        inputs = Table(show_header=False, box=None, pad_edge=False)
        inputs.add_column(style="dim", no_wrap=True)
        inputs.add_column(overflow="fold")
        for name, value in self.inputs.items():
            inputs.add_row(escape(name), escape(shown(value)))
        for line in self.rule:
            inputs.add_row("rule", escape(line))
        inputs.add_row("source", escape(self.source))
        for line in self.warnings:
            inputs.add_row("[yellow]warning[/]", escape(line))
        head = Text.assemble((f"{self.criterion}: {self.result}", "bold"), f"  {self.meaning}")
        return Group(head, inputs, Text(NOTICE, style="italic"))


def shown(value: Any) -> str:
    """A value for people: numbers with three digits after the point, "unknown" for None."""
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(v) for v in value) or "none"
    return str(value)
