"""Documents are read as they are, equal ones once, and what is no document is named with its file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prentice.errors import DataError
from prentice.records import Ledger
from prentice.records.documents import documents_hash, read_documents
from prentice.records.documents.html import html_text


def write(folder: Path, **files: str | bytes) -> Path:
    """Files by name, in which `__` stands for a point."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def texts(folder: Path, *named: str) -> dict[str, str]:
    return {d.id: d.content for d in read_documents(named or (".",), folder).documents}


def test_text_and_markdown_are_read_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, a__txt="\r\n  Refunds\r\n\r\ntake ten days. \n", b__md="# Cards\n\n- *lost*: call\n")
    assert texts(tmp_path) == {"a.txt": "  Refunds\n\ntake ten days.", "b.md": "# Cards\n\n- *lost*: call"}


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert texts(write(tmp_path, a__txt=b"\xef\xbb\xbfRefunds")) == {"a.txt": "Refunds"}


PAGE = """<!doctype html><html><head><title>Refunds | Company</title><meta charset=utf-8>
<style>p { color: red }</style><script>if (a < b) { show("<p>no</p>") }</script></head>
<body><header>Help</header><h1>Refunds</h1>
<p>We pay <b>within</b>
   ten&nbsp;days.<br>Never &lt; 3 &amp; never more.</p><!-- not this -->
<ul><li>one<li>two <i>or</i> three</ul>
<table><tr><th>kind</th><th>days</th></tr><tr><td>card</td><td>3</td></tr></table>
<pre>if paid:
    wait()
</pre><svg><text>no</text></svg><p>End.</body></html>"""


def test_html_is_its_text_without_scripts_and_styles(tmp_path: Path) -> None:
    expected = (
        "Help\n\nRefunds\n\nWe pay within ten days.\nNever < 3 & never more.\n\none\ntwo or three\n\n"
        "kind\tdays\ncard\t3\n\nif paid:\n    wait()\n\nEnd."
    )
    assert texts(write(tmp_path, a__html=PAGE, b__HTM=PAGE.replace("Help", "Else"))) == {
        "a.html": expected,
        "b.HTM": expected.replace("Help", "Else"),
    }


@given(st.text(alphabet="ab <>/&;!-\n\"'=p", max_size=60))
def test_no_html_however_broken_stops_the_reader(source: str) -> None:
    assert "\n\n\n" not in html_text(source)


def test_json_lines_are_documents_with_their_ids_and_titles(tmp_path: Path) -> None:
    rows: list[dict[str, str]] = [
        {"id": "gsam-1", "title": "Purpose.", "text": "This part says why."},
        {"title": "Same", "text": "Same beginning", "kind": "rule"},
        {"text": "Neither id nor title"},
    ]
    lines = "\n\n".join(json.dumps(row) for row in rows)
    found = {
        "gsam-1": "Purpose.\n\nThis part says why.",
        "rules.jsonl:3": "Same beginning",
        "rules.jsonl:5": "Neither id nor title",
    }
    assert texts(write(tmp_path / "plain", rules__jsonl=lines)) == found
    packed = texts(write(tmp_path / "packed", rules__jsonl__gz=gzip.compress(lines.encode())))
    assert packed == {name.replace(".jsonl:", ".jsonl.gz:"): text for name, text in found.items()}


def test_equal_documents_are_read_once_and_counted(tmp_path: Path) -> None:
    write(tmp_path, a__txt="same", b__md="same\n", c__jsonl='{"text": "same"}\n{"text": "other"}')
    read = read_documents((".",), tmp_path)
    assert {d.id for d in read.documents} == {"a.txt", "c.jsonl:2"}
    assert read.ledger == Ledger(rows_in=4, kept=2, dropped={"equal to another": 2})


def test_files_are_named_by_themselves_by_folder_and_by_pattern(tmp_path: Path) -> None:
    write(tmp_path, a__txt="a", **{"sub/b__md": "b", "sub/deep/c__md": "c", ".git/d__md": "d", "e__txt": "e"})
    assert set(texts(tmp_path, "a.txt")) == {"a.txt"}
    assert set(texts(tmp_path, "sub")) == {"sub/b.md", "sub/deep/c.md"}
    assert set(texts(tmp_path, "**/*.md")) == {"sub/b.md", "sub/deep/c.md"}
    assert set(texts(tmp_path, "*.txt", ".", "sub")) == {"a.txt", "e.txt", "sub/b.md", "sub/deep/c.md"}
    assert set(texts(tmp_path, str(tmp_path / "sub" / "*.md"))) == {"sub/b.md"}


def test_files_of_other_formats_in_a_folder_are_counted_by_format(tmp_path: Path) -> None:
    write(tmp_path, a__txt="a", b__pdf=b"%PDF-1.7\0", c__pdf=b"%PDF-1.7\0", LICENCE="free")
    assert read_documents((".",), tmp_path).ledger.dropped == {
        "not text, Markdown, HTML or JSON lines (.pdf)": 2,
        "not text, Markdown, HTML or JSON lines (no suffix)": 1,
    }


def refused(folder: Path, *named: str) -> str:
    with pytest.raises(DataError) as caught:
        read_documents(named or (".",), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff\n"])
def test_an_empty_document_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path, a__txt="a", b__md=content)
    assert refused(tmp_path).startswith("b.md: an empty document")


def test_an_html_page_without_text_is_an_empty_document(tmp_path: Path) -> None:
    write(tmp_path, a__html="<title>Only a title</title><script>run()</script>")
    assert refused(tmp_path).startswith("a.html: an empty document")


def test_an_empty_document_of_a_line_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, a__jsonl='{"text": "a"}\n{"text": "  ", "title": "only this"}\n')
    assert refused(tmp_path).startswith("a.jsonl:2: an empty document")


def test_a_binary_file_among_documents_is_named(tmp_path: Path) -> None:
    write(tmp_path, a__txt="a", b__txt=b"\x89PNG\r\n\x1a\n\0\0")
    assert refused(tmp_path).startswith("b.txt: binary, no text: byte 8 is 0 (take it out")


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write(tmp_path, a__txt="Überweisung".encode("latin-1"))
    assert refused(tmp_path).startswith("a.txt: not UTF-8 text: byte 0 is 0xdc (if it is text, save it as UTF-8")


def test_text_in_utf_16_is_named(tmp_path: Path) -> None:
    write(tmp_path, a__txt="Refunds".encode("utf-16"))
    assert refused(tmp_path).startswith("a.txt: text in UTF-16 (save it as UTF-8")


def test_a_file_of_another_format_that_is_named_itself_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a__pdf=b"%PDF")
    assert refused(tmp_path, "a.pdf").startswith("a.pdf: not text, Markdown, HTML or JSON lines: .pdf")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"body": "b", "id": 3}', "a line without `text`: it has the keys body, id"),
        ('{"text": 3}', "a line without `text`: `text` is '3'"),
        ('["text"]', "not a JSON object"),
        ('{"text": "b"', "not JSON: EOF"),
        ("text", "not JSON: expected"),
    ],
)
def test_a_line_without_text_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    write(tmp_path, a__jsonl=f'{{"text": "a"}}\n{line}\n{{"text": "c"}}\n')
    assert refused(tmp_path).startswith(f"a.jsonl:2: {said}")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    write(tmp_path, a__jsonl__gz=gzip.compress(b'{"text": "a"}\n' * 100)[:-9])
    assert refused(tmp_path).startswith("a.jsonl.gz: cannot be read to its end")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, "handbook").startswith(f"{tmp_path / 'handbook'}: no such file or folder")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "handbook").mkdir()
    assert refused(tmp_path, "handbook").startswith(f"{tmp_path / 'handbook'}: the folder holds no files")


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, "*.md").startswith(f"{tmp_path / '*.md'}: no file matches")


def test_no_documents_at_all_say_what_was_there_instead(tmp_path: Path) -> None:
    write(tmp_path, a__pdf=b"%PDF", b__png=b"\x89PNG")
    said = refused(tmp_path)
    assert said.startswith(f"{tmp_path}: no documents in . (1 × not text, Markdown, HTML or JSON lines (.pdf); 1 × not")


def test_of_many_faults_the_first_is_named_and_the_others_counted(tmp_path: Path) -> None:
    write(tmp_path, a__txt="a", b__txt="", c__txt=b"\0", d__jsonl="1\n2\n")
    assert refused(tmp_path).startswith("b.txt: an empty document (and 3 more at fault)")


def test_faults_that_shall_be_skipped_are_counted(tmp_path: Path) -> None:
    write(tmp_path, a__txt="a", b__txt="", c__txt=b"\0", d__jsonl='{"text": "d"}\n1\n')
    read = read_documents((".",), tmp_path, skip_faulty=True)
    assert {d.id for d in read.documents} == {"a.txt", "d.jsonl:1"}
    dropped = {"an empty document": 1, "binary, no text": 1, "not a JSON object": 1}
    assert read.ledger == Ledger(rows_in=5, kept=2, dropped=dropped)
    assert [fault.place for fault in read.faults] == ["b.txt", "c.txt", "d.jsonl:2"]


def test_what_the_other_has_too_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, **{"a/1__txt": "one", "a/2__txt": "two", "b/1__txt": "two", "b/2__txt": "three"})
    domain, general = (read_documents((name,), tmp_path) for name in "ab")
    left = general.without(domain)
    assert [d.content for d in left.documents] == ["three"]
    assert left.ledger == Ledger(rows_in=2, kept=1, dropped={"equal to another": 1})


def test_the_hash_of_documents_is_what_they_say_wherever_they_lie(tmp_path: Path) -> None:
    write(tmp_path, **{"a/1__txt": "one", "a/2__txt": "two", "b/3__txt": "two", "b/4__txt": "one", "c/1__txt": "one!"})
    assert documents_hash(("a",), tmp_path) == documents_hash(("b",), tmp_path)
    assert documents_hash(("a",), tmp_path) != documents_hash(("c",), tmp_path)
    assert read_documents(("a",), tmp_path).hash == read_documents(("b",), tmp_path).hash


def test_the_government_corpus_is_read_whole(data: Path) -> None:
    read = read_documents(("gov_corpus.jsonl",), data)
    assert read.ledger == Ledger(rows_in=1484, kept=1484, dropped={})
    purpose = next(d for d in read.documents if d.id == "gsam-501.101")
    assert purpose.content.startswith("GSAM 501.101 Purpose.\n\n(a) The General Services Acquisition Regulation")
