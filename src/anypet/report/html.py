"""The report as one HTML file: styles and pictures inside, no script, nothing fetched."""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from anypet.report.content import NOTICE, Report


def as_html(report: Report) -> str:
    """The page; every text of the report is escaped, so that no name can become markup.

    The page forbids itself scripts and the network (Content-Security-Policy), and prints on A4.
    """
    return _template().render(report=report, notice=NOTICE, picture=_data_address)


@lru_cache(maxsize=1)
def _template() -> Template:
    text = Path(__file__).with_name("report.html.j2").read_text("utf-8")
    surroundings = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return surroundings.from_string(text)


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
