"""Print a paper as PDF: fpdf2 and the vendored face alone, nothing else of the machine.

Equal papers make equal bytes, because the only time in the file is the paper's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from affiliate.core.paper import Align, Block, Figures, Note, Paper, Party, Row, Sums, Table

FONTS: Final = Path(__file__).parent / "fonts"
FACE: Final = "IBM Plex Sans"
CELL_CHARS_MAX: Final = 400
"""A longer text is cut: a row must fit on a page."""
FIGURE_LABEL_LINES_MAX: Final = 2

# Millimetres and points. Ink and brand as on the pages (static/kopeck.css, light).
MARGIN, WIDTH, HEIGHT = 16.0, 210.0, 297.0
INNER: Final = WIDTH - 2 * MARGIN
FOOT: Final = 18.0
GUTTER: Final = 2.0
INK, GREY, BRAND, LINE, SOFT = (22, 33, 31), (102, 117, 115), (11, 98, 100), (225, 231, 231), \
    (246, 248, 248)  # fmt: skip
_NAMES: Final = ("Regular", "SemiBold")
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f\u200b\u2028\u2029\ufeff\ufffe\uffff]+")


def printed(paper: Paper) -> bytes:
    """The document as PDF."""
    sheet = _Sheet(paper)
    sheet.add_page()
    sheet.opening()
    for block in paper.blocks:
        sheet.block(block)
    return bytes(sheet.output())


@lru_cache(maxsize=2)
def _face(style: str) -> str:
    return str(FONTS / f"IBMPlexSans-{style}.ttf")


class _Sheet(FPDF):
    """The pages of one paper while they are written."""

    def __init__(self, paper: Paper) -> None:
        super().__init__(format="A4", unit="mm")
        self.paper = paper
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.set_auto_page_break(False)
        for style, name in zip(("", "B"), _NAMES, strict=True):
            self.add_font(FACE, style, _face(name))
        self.set_creation_date(paper.made_at)
        self.set_title(paper.title)
        self.set_subject(paper.identity)
        self.set_author(paper.brand)
        self.set_creator("Kopeck")
        self.set_producer("Kopeck")
        self.set_lang(paper.language)
        self.c_margin = 0
        self.bottom = HEIGHT - FOOT

    # ---- what stands on every page ----

    def header(self) -> None:
        if self.page == 1:
            return
        self._text(8, GREY)
        self.set_xy(MARGIN, 10)
        self._line(INNER * 0.7, 4, self._fit(f"{self.paper.brand} · {self.paper.title}", 0.7))
        self.set_xy(MARGIN, 10)
        self._line(INNER, 4, self.paper.identity, Align.RIGHT)
        self.set_y(MARGIN + 4)

    def footer(self) -> None:
        self.set_draw_color(*LINE)
        self.set_line_width(0.2)
        self.line(MARGIN, HEIGHT - 14, WIDTH - MARGIN, HEIGHT - 14)
        self._text(8, GREY)
        self.set_xy(MARGIN, HEIGHT - 12)
        # The number of pages is filled in at the end, when the text's width is settled: it
        # stands at the left, where that does not matter.
        words = self.paper.page_words.replace("{page}", str(self.page)).replace("{pages}", "{nb}")
        self._line(INNER / 2, 4, words)
        self.set_xy(MARGIN, HEIGHT - 12)
        self._line(INNER, 4, self.paper.identity, Align.RIGHT)

    # ---- the first page's head ----

    def opening(self) -> None:
        paper = self.paper
        self.set_fill_color(*BRAND)
        self.rect(0, 0, WIDTH, 2.2, style="F")
        self.set_xy(MARGIN, 11)
        self._text(10, BRAND, bold=True)
        self._line(INNER, 5, self._fit(paper.brand, 1))
        self.set_xy(MARGIN, 18)
        self._text(19, INK, bold=True)
        self._wrapped(INNER, 8.4, paper.title)
        if paper.subtitle:
            self._text(10, GREY)
            self.set_x(MARGIN)
            self._wrapped(INNER, 5, paper.subtitle)
        self.ln(4)
        if paper.facts:
            self._facts(paper.facts)
        if paper.parties:
            self._parties(paper.parties)

    def _facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Label above value, up to three beside each other."""
        per_row = 3
        width = INNER / per_row
        for start in range(0, len(facts), per_row):
            top, low = self.get_y(), self.get_y()
            for place, (label, value) in enumerate(facts[start : start + per_row]):
                x = MARGIN + place * width
                self.set_xy(x, top)
                self._text(8, GREY)
                self._line(width - GUTTER, 4, label)
                self.set_xy(x, top + 4)
                self._text(9.5, INK)
                self._wrapped(width - 2 * GUTTER, 4.6, value, x)
                low = max(low, self.get_y())
            self.set_y(low + 2.5)
        self.ln(1.5)

    def _parties(self, parties: Sequence[Party]) -> None:
        width = INNER / max(2, len(parties))
        top, low = self.get_y(), self.get_y()
        for place, party in enumerate(parties):
            x = MARGIN + place * width
            self.set_xy(x, top)
            self._text(8, GREY)
            self._line(width - 4, 4.5, party.role)
            self.set_y(top + 5)
            for number, line in enumerate(party.lines):
                self._text(9.5, INK, bold=number == 0)
                self.set_x(x)
                self._wrapped(width - 6, 4.6, line, x)
            low = max(low, self.get_y())
        self.set_y(low + 5)

    # ---- blocks ----

    def block(self, block: Block) -> None:
        if isinstance(block, Table):
            self._table(block)
        elif isinstance(block, Figures):
            self._figures(block)
        elif isinstance(block, Sums):
            self._sums(block)
        else:
            self._note(block)

    def _figures(self, block: Figures) -> None:
        width = INNER / len(block.items)
        self._text(7.5, GREY)
        labels = [
            self._lines(label, width - 4)[:FIGURE_LABEL_LINES_MAX] for label, _ in block.items
        ]
        under = 3.5 * (max(map(len, labels), default=1) - 1)
        height = 15.0 + under
        self._room(height + 5)
        top = self.get_y()
        self.set_fill_color(*SOFT)
        self.rect(MARGIN, top, INNER, height, style="F")
        size = 11.0
        self._text(size, INK, bold=True)
        while size > 7 and any(
            self.get_string_width(value) > width - 5 for _, value in block.items
        ):
            size -= 0.5
            self.set_font_size(size)
        for place, (lines, (_label, value)) in enumerate(zip(labels, block.items, strict=True)):
            x = MARGIN + place * width + 3
            self._text(7.5, GREY)
            for number, line in enumerate(lines):
                self.set_xy(x, top + 2.5 + 3.5 * number)
                self._line(width - 4, 4, line)
            self.set_xy(x, top + 7.5 + under)
            self._text(size, INK, bold=True)
            self._line(width - 4, 5, value)
        self.set_y(top + height + 5)

    def _sums(self, block: Sums) -> None:
        self._room(6.0 * len(block.items) + 4)
        self.ln(1)
        left, width = MARGIN + INNER * 0.42, INNER * 0.58
        for number, (label, value) in enumerate(block.items):
            last = number == len(block.items) - 1
            if last:
                self.set_draw_color(*INK)
                self.set_line_width(0.3)
                self.line(left, self.get_y(), MARGIN + INNER, self.get_y())
            top = self.get_y() + 0.8
            self._text(10 if last else 9.5, INK, bold=last)
            self.set_xy(left, top)
            self._line(width * 0.62, 5, self._fit(label, 0.36))
            self.set_xy(left, top)
            self._line(width, 5, value, Align.RIGHT)
            self.set_y(top + 5.4)
        self.ln(4)

    def _note(self, block: Note) -> None:
        self._text(8.5, GREY)
        lines = self._lines(block.text, INNER)
        self._room(4.4 * min(len(lines), 20) + 2)
        for line in lines:
            self._room(4.4)
            self._text(8.5, GREY)
            self.set_x(MARGIN)
            self._line(INNER, 4.4, line)
            self.ln(4.4)
        self.ln(2)

    def _table(self, table: Table) -> None:
        whole = sum(column.share for column in table.columns)
        widths = [column.share / whole * INNER for column in table.columns]
        self._room(26)
        if table.title:
            self._text(11, INK, bold=True)
            self.set_x(MARGIN)
            self._line(INNER, 6, table.title)
            self.ln(7)
        self._table_head(table, widths)
        count = 0
        for row in table.rows:
            self._table_row(table, widths, row)
            count += 1
        if not count and table.empty:
            self._text(9, GREY)
            self.set_xy(MARGIN, self.get_y() + 1.4)
            self._line(INNER, 4.6, table.empty)
            self.ln(6)
        self.ln(4)

    def _table_head(self, table: Table, widths: Sequence[float]) -> None:
        self._text(7.5, GREY, bold=True)
        cells = [
            self._lines(c.label, w - GUTTER) for c, w in zip(table.columns, widths, strict=True)
        ]
        self._cells(table, widths, cells, 3.6)
        self.set_draw_color(*BRAND)
        self.set_line_width(0.4)
        self.line(MARGIN, self.get_y(), MARGIN + INNER, self.get_y())

    def _table_row(self, table: Table, widths: Sequence[float], row: Row) -> None:
        self._text(8.5, INK, bold=row.strong)
        cells = [
            self._lines(text, width - GUTTER) for text, width in zip(row.cells, widths, strict=True)
        ]
        if self.get_y() + max(map(len, cells)) * 4.2 + 2.4 > self.bottom:
            self.add_page()
            self._table_head(table, widths)
            self._text(8.5, INK, bold=row.strong)
        self._cells(table, widths, cells, 4.2)
        self.set_draw_color(*LINE)
        self.set_line_width(0.2)
        self.line(MARGIN, self.get_y(), MARGIN + INNER, self.get_y())

    def _cells(
        self, table: Table, widths: Sequence[float], cells: Sequence[Sequence[str]], height: float
    ) -> None:
        top, x = self.get_y() + 1.2, MARGIN
        for column, width, lines in zip(table.columns, widths, cells, strict=True):
            for number, line in enumerate(lines):
                # A right-aligned column ends at its edge; the next one begins after a gutter.
                self.set_xy(
                    x + (GUTTER if column.align is Align.RIGHT else 0), top + number * height
                )
                self._line(width - GUTTER, height, line, column.align)
            x += width
        self.set_y(top + max(map(len, cells)) * height + 1.2)

    # ---- pieces ----

    def _room(self, height: float) -> None:
        if self.get_y() + height > self.bottom:
            self.add_page()

    def _text(self, size: float, colour: tuple[int, int, int], *, bold: bool = False) -> None:
        self.set_font(FACE, "B" if bold else "", size)
        self.set_text_color(*colour)

    def _line(self, width: float, height: float, text: str, align: Align = Align.LEFT) -> None:
        self.cell(width, height, _plain(text), align=align.value, new_x=XPos.RIGHT, new_y=YPos.TOP)

    def _wrapped(self, width: float, height: float, text: str, x: float = MARGIN) -> None:
        for line in self._lines(text, width):
            self.set_x(x)
            self._line(width, height, line)
            self.ln(height)

    def _lines(self, text: str, width: float) -> list[str]:
        """The text in lines of at most this width, in the present font."""
        text = _plain(text)
        if self.get_string_width(text) <= width:
            return [text]
        found = self.multi_cell(width, 4, text, dry_run=True, output="LINES", align="L")
        return [str(line) for line in cast(list[str], found)] or [""]

    def _fit(self, text: str, share: float) -> str:
        """The text, cut where it would leave this share of the page's width."""
        text, width = _plain(text), INNER * share
        if self.get_string_width(text) <= width:
            return text
        while text and self.get_string_width(f"{text}…") > width:
            text = text[:-1]
        return f"{text}…"


def _plain(text: str) -> str:
    """One line without what cannot be seen, and no longer than a row can take."""
    text = _UNSEEN.sub(" ", text)
    return text if len(text) <= CELL_CHARS_MAX else f"{text[: CELL_CHARS_MAX - 1]}…"
