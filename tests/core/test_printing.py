"""Documents on paper: what stands on them, over how many pages, and with what they are made."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pypdfium2

from affiliate.core.config import ROOT
from affiliate.core.paper import Align, Column, Figures, Note, Paper, Party, Row, Sums, Table
from affiliate.core.printing import FONTS, printed


def paper(rows: int = 3, **changes: object) -> Paper:
    columns = [Column("Что", 60), Column("Сумма", 40, Align.RIGHT)]
    lines = [Row((f"Заказ {n}", f"{n},00 ₽")) for n in range(rows)]
    values: dict[str, object] = {
        "identity": "lamps · aff_7Qk2 · 2026-11",
        "language": "ru",
        "made_at": datetime(2026, 12, 1, tzinfo=UTC),
        "brand": "Лавка ламп",
        "title": "Отчёт за ноябрь",
        "page_words": "Страница {page} из {pages}",
        "facts": [("Период", "1–30 ноября 2026 г.")],
        "parties": [Party("Поставщик", ["Анна Ёлкина", "ИНН 500100732259"])],
        "blocks": [
            Figures([("Всего", "100,00 €")]),
            Table("Движения", columns, lines),
            Sums([("Нетто", "1,00 ₽"), ("Итого", "1,20 ₽")]),
            Note("Каждая строка есть запись книги."),
        ],
    }
    return Paper(**{**values, **changes})  # type: ignore[arg-type]


def pages_of(content: bytes) -> list[str]:
    """The text of each page, as a reader would copy it."""
    document = pypdfium2.PdfDocument(content)
    found = [page.get_textpage().get_text_bounded() for page in document]
    document.close()
    return found


def test_everything_stands_on_it_in_cyrillic_with_both_currency_signs() -> None:
    (page,) = pages_of(printed(paper()))
    for text in (
        "Лавка ламп", "Отчёт за ноябрь", "1–30 ноября 2026 г.", "Анна Ёлкина", "ИНН 500100732259",
        "100,00 €", "Заказ 2", "2,00 ₽", "Итого", "Страница 1 из 1", "lamps · aff_7Qk2 · 2026-11",
    ):  # fmt: skip
        assert text in page


def test_a_long_table_goes_over_pages_with_its_head_on_each() -> None:
    pages = pages_of(printed(paper(rows=200)))
    assert len(pages) > 3
    for number, page in enumerate(pages, start=1):
        assert f"Страница {number} из {len(pages)}" in page
        assert "Сумма" in page
    told = [int(n) for page in pages for n in re.findall(r"Заказ (\d+)", page)]
    assert told == list(range(200))


def test_equal_papers_are_equal_bytes_and_another_is_not() -> None:
    assert printed(paper()) == printed(paper())
    assert printed(paper()) != printed(paper(title="Отчёт за декабрь"))


def test_the_file_says_what_it_is_and_no_other_time() -> None:
    document = pypdfium2.PdfDocument(printed(paper()))
    facts = document.get_metadata_dict()
    document.close()
    assert facts["Title"] == "Отчёт за ноябрь"
    assert facts["Subject"] == "lamps · aff_7Qk2 · 2026-11"
    assert facts["Author"] == "Лавка ламп"
    assert facts["CreationDate"].startswith("D:20261201000000")
    assert not facts["ModDate"]


def odd_texts() -> Iterator[str]:
    yield "\x00\x07\u2028 zero"
    yield "слово" * 300
    yield "名前 и 🎉 и שלום"
    yield ""
    yield "{nb} {page} **bold** <b>tag</b> %s %(name)s"


def test_no_text_stops_the_printer() -> None:
    for text in odd_texts():
        odd = paper(
            brand=text, title=text, facts=[(text, text)], parties=[Party(text, [text])],
            blocks=[Table(text, [Column(text, 1)], [Row((text,))]), Figures([(text, text)]),
                    Sums([(text, text)]), Note(text)],
        )  # fmt: skip
        assert pages_of(printed(odd))


def test_an_empty_table_says_so() -> None:
    table = Table("Движения", [Column("Что", 1)], [], empty="Ничего не было.")
    (page,) = pages_of(printed(paper(blocks=[table])))
    assert "Ничего не было." in page


BARE = """
import os, sys
FREE = ("/proc", "/dev", "/etc", "/usr/share/zoneinfo")
own = tuple(os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, {root!r}, *{paths!r}))
def watch(event, args):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"):
        raise SystemExit(f"{{event}}: {{args}}")
    if event == "open" and isinstance(args[0], str):
        path = os.path.realpath(args[0])
        if not path.startswith(own) and not path.startswith(FREE):
            raise SystemExit(f"opened {{path}}")
    if event == "ctypes.dlopen" and args[0]:
        raise SystemExit(f"library {{args}}")
sys.addaudithook(watch)
from datetime import UTC, datetime
from affiliate.core.paper import Paper, Table, Column, Row
from affiliate.core.printing import printed
table = Table("Т", [Column("Ж", 1)], [Row(("₽ €",))])
at = datetime(2026, 1, 1, tzinfo=UTC)
made = printed(Paper("id", "ru", at, "Лавка", "Отчёт", "{{page}} {{pages}}", blocks=[table]))
sys.stdout.buffer.write(made[:5])
"""


def test_a_machine_with_python_alone_prints_it() -> None:
    """No program is started, no library loaded, no font of the machine opened."""
    code = BARE.format(root=str(ROOT), paths=[str(Path(p).resolve()) for p in sys.path if p])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PATH": "/nonexistent", "LANG": "C"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"%PDF-"), done.stderr.decode()[-2000:]


def test_the_face_is_the_one_that_is_written_down() -> None:
    listed = dict(
        re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (FONTS / "VENDORED.md").read_text())
    )
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FONTS.iterdir()
        if path.name != "VENDORED.md"
    }
    assert found == listed


def test_an_installed_package_has_the_face() -> None:
    """setuptools itself says which files it would take along."""
    code = (
        "from setuptools import Distribution\n"
        "d = Distribution(); d.parse_config_files(['setup.cfg']); d.include_package_data = False\n"
        "command = d.get_command_obj('build_py'); command.ensure_finalized()\n"
        "print(*(f for _p, _s, _b, names in command.data_files for f in names), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    taken = {name for name in done.stdout.split() if name.startswith("fonts/")}
    assert taken >= {"fonts/IBMPlexSans-Regular.ttf", "fonts/IBMPlexSans-SemiBold.ttf",
                     "fonts/OFL.txt"}  # fmt: skip
