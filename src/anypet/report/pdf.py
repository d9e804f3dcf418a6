"""The report as PDF on A4 with selectable text, by fpdf2: no browser and no system library is needed."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from anypet._version import __version__
from anypet.report.content import NOTICE, Field, Flag, Picture, Report, Row, Table

MARGIN, GAP = 12.0, 4.0
INK, SOFT, LINE, PALE, ACCENT = (29, 34, 39), (92, 102, 112), (217, 222, 227), (244, 246, 248), (11, 90, 138)
LEVELS = {"good": ("✓", (31, 122, 77)), "note": ("○", (138, 97, 0)), "warning": ("!", (179, 38, 30))}
FAMILY = "DejaVu"


class _Page(FPDF):
    """A4 with the patient and the page's number at the foot of every page."""

    def __init__(self, report: Report) -> None:
        super().__init__(format="A4")
        self._foot = f"{report.who}  ·  {report.title}"
        # matplotlib carries the font, so that names in Latin, Greek and Cyrillic script can be written
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font(FAMILY, "", str(fonts / "DejaVuSans.ttf"))
        self.add_font(FAMILY, "B", str(fonts / "DejaVuSans-Bold.ttf"))
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.c_margin = 0
        self.set_auto_page_break(True, 18)
        self.set_title(f"{report.title}: {report.who}")
        self.set_creator(f"AnyPET {__version__}")
        self.set_producer("fpdf2")
        self.set_lang("en")
        if report.anonymous:  # the day of writing would tell about when the scan was
            self.set_creation_date(datetime.fromtimestamp(0, UTC))
        self.add_page()

    def footer(self) -> None:
        self.set_y(-12)
        self.ink(7, SOFT)
        self.cell(self.epw - 20, 4, self._foot)
        self.cell(20, 4, f"{self.page_no()} / {{nb}}", align="R")

    def ink(self, size: float, colour: tuple[int, int, int] = INK, style: str = "") -> None:
        """The pen."""
        self.set_font(FAMILY, style, size)  # type: ignore[arg-type]
        self.set_text_color(*colour)

    def line_of(self, text: str, height: float, width: float = 0, **words: Any) -> None:
        """Text that wraps, and the cursor below it at the left."""
        self.multi_cell(width, height, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L", **words)

    def room(self, height: float) -> None:
        """A new page where there is less than so many millimetres left."""
        if self.will_page_break(height):
            self.add_page()


def as_pdf(report: Report) -> bytes:
    """The report as the bytes of a PDF file.

    Characters that its font (DejaVu Sans) lacks, such as Chinese ones, are shown as boxes.
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    page = _Page(report)
    _head(page, report)
    _keys(page, report.key_values)
    _projections(page, report.projections)
    _heading(page, "Lesions", 30)
    if report.lesions.rows:
        _table(page, report.lesions)
    else:
        page.ink(9)
        page.line_of("The mask holds no lesion.", 5)
    if report.key_slices:
        _cards(page, report.key_slices, report.slices_note)
    if report.organs:
        _heading(page, "Organs", 30)
        _table(page, report.organs)
    _heading(page, "Quality of the scan", 40)
    _flags(page, report.flags)
    _heading(page, "How this was made", 62 + 5 * len(report.made_by))  # on one page with the signature
    for field in report.made_by:
        _field(page, field, MARGIN, page.epw, 32)
    _sign(page)
    return bytes(page.output())


def _head(page: _Page, report: Report) -> None:
    page.ink(16, INK, "B")
    page.multi_cell(page.epw - 40, 8, report.who, align="L", new_x=XPos.RIGHT, new_y=YPos.LAST)
    page.ink(9, SOFT)
    page.cell(40, 8, report.title, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.set_draw_color(*ACCENT)
    page.set_line_width(0.6)
    page.line(MARGIN, page.get_y() + 1, MARGIN + page.epw, page.get_y() + 1)
    page.set_y(page.get_y() + 4)
    top = page.get_y()
    half = (len(report.examination) + 1) // 2
    columns = (
        (report.patient, MARGIN, 56.0, 24.0),
        (report.examination[:half], MARGIN + 60, 62.0, 24.0),
        (report.examination[half:], MARGIN + 126, 60.0, 26.0),
    )
    bottoms = [top]
    for fields, left, width, label in columns:
        page.set_y(top)
        for field in fields:
            _field(page, field, left, width, label)
        bottoms.append(page.get_y())
    page.set_y(max(bottoms))


def _field(page: _Page, field: Field, left: float, width: float, label: float) -> None:
    page.set_x(left)
    page.ink(8, SOFT)
    page.cell(label, 4.4, field.label)
    page.ink(8)
    page.multi_cell(width - label, 4.4, field.value, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _keys(page: _Page, values: Sequence[Field]) -> None:
    top = page.get_y() + 3
    width = (page.epw - 2.5 * (len(values) - 1)) / len(values)
    page.set_fill_color(*PALE)
    for n, field in enumerate(values):
        left = MARGIN + n * (width + 2.5)
        page.rect(left, top, width, 13, style="F", round_corners=True, corner_radius=1.2)
        page.set_xy(left + 2.5, top + 1.5)
        page.ink(7.5, SOFT)
        page.cell(width - 5, 4, field.label)
        page.set_xy(left + 2.5, top + 5.5)
        page.ink(12, INK, "B")
        page.cell(width - 5, 6, field.value)
    page.set_xy(MARGIN, top + 16)
    page.set_fill_color(255)


def _projections(page: _Page, picture: Picture) -> None:
    page.image(io.BytesIO(picture.png), w=page.epw, alt_text=picture.caption)
    _caption(page, picture.caption)


def _caption(page: _Page, text: str) -> None:
    page.ink(7, SOFT)
    page.line_of(text, 3.6)


def _heading(page: _Page, text: str, room: float) -> None:
    """A heading, on the next page where little would follow it on this one."""
    page.room(room)
    page.set_y(page.get_y() + 4)
    page.ink(10.5, ACCENT, "B")
    page.line_of(text, 6)
    page.set_y(page.get_y() + 1)


def _table(page: _Page, content: Table) -> None:
    first = 2.6 if len(content.columns) > 5 else 1.8
    page.set_draw_color(*LINE)
    page.set_line_width(0.2)
    page.ink(8)
    with page.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(color=SOFT, emphasis="BOLD", size_pt=7.5),
        col_widths=(first, *(1 for _ in content.columns[1:])),
        text_align=("LEFT", *("RIGHT" for _ in content.columns[1:])),
        line_height=4.2,
        padding=0.7,
    ) as table:
        head = table.row()
        for title, unit in content.columns:
            head.cell(f"{title}\n{unit}" if unit else title)
        for row in (*content.rows, *([content.total] if content.total else [])):
            _row(table, row, row is content.total)
    page.set_y(page.get_y() + 1.5)
    for note in content.notes:
        _caption(page, note)


def _row(table: Any, row: Row, bold: bool) -> None:
    line = table.row()
    for n, cell in enumerate(row.cells):
        text = f"{row.number}  {cell}" if n == 0 and row.number is not None else cell
        if n == 0 and row.colour:
            line.cell(text, style=FontFace(color=row.colour, emphasis="BOLD"))
        else:
            line.cell(text, style=FontFace(emphasis="BOLD") if bold else None)


def _cards(page: _Page, pictures: Sequence[Picture], note: str) -> None:
    width = (page.epw - GAP) / 2
    height = width / 2 + 7
    _heading(page, "Key slices", height + 16)
    _caption(page, note)
    page.set_y(page.get_y() + 1)
    for n, picture in enumerate(pictures):
        if n % 2 == 0:
            page.room(height)
            top = page.get_y()
        left = MARGIN + (n % 2) * (width + GAP)
        shown = page.image(
            io.BytesIO(picture.png),
            x=left,
            y=top,
            w=width,
            alt_text=f"Slices through lesion {picture.number}",
        )
        page.set_xy(left, top + shown.rendered_height + 0.8)
        page.ink(7, _rgb(picture.colour), "B")
        page.cell(6, 3.6, str(picture.number or ""))
        page.ink(7, SOFT)
        page.cell(width - 6, 3.6, picture.caption)
        page.set_xy(MARGIN, top + height if n % 2 or n == len(pictures) - 1 else top)


def _rgb(colour: str) -> tuple[int, int, int]:
    digits = colour.removeprefix("#")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def _flags(page: _Page, flags: Sequence[Flag]) -> None:
    page.set_draw_color(*LINE)
    page.set_line_width(0.2)
    page.ink(8)
    with page.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        first_row_as_headings=False,
        col_widths=(32, 74, 80),
        text_align="LEFT",
        line_height=4.2,
        padding=0.7,
    ) as table:
        for flag in flags:
            sign, colour = LEVELS[flag.level]
            line = table.row()
            line.cell(f"{sign} {flag.what}", style=FontFace(color=colour, emphasis="BOLD"))
            line.cell(flag.value)
            line.cell(flag.why)


def _sign(page: _Page) -> None:
    top = page.get_y() + 18
    page.set_draw_color(*INK)
    page.set_line_width(0.25)
    left = MARGIN
    for text, width in (("Physician", 68.0), ("Signature", 68.0), ("Date", 34.0)):
        page.line(left, top, left + width, top)
        page.set_xy(left, top + 1)
        page.ink(7, SOFT)
        page.cell(width, 4, text)
        left += width + 8
    page.set_xy(MARGIN, top + 9)
    page.ink(7, SOFT)
    page.set_draw_color(*LINE)
    page.line_of(NOTICE, 3.6, border=1, padding=2)
