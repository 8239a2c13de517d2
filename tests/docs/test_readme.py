"""README's numbers are those of the records."""

import re

import pytest

from readme import REGION, ROOT, rewritten

README = (ROOT / "README.md").read_text()


def test_the_tables_are_those_of_the_records():
    assert rewritten(README) == README, "python benchmarks/readme.py writes them"


def test_results_outside_of_the_tables_have_no_number_of_their_own():
    results = README.partition("## Results\n")[2].partition("\n## ")[0]
    prose = REGION.sub("", results)
    assert not re.findall(r"\d[\d.]*\s?(?:ms|%|s|kB|MB|times|×)(?!\w|\d)", prose)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (README.replace("<!-- table: speed -->", "<!-- table: sped -->"), KeyError),
        (README.replace("<!-- table: speed -->", ""), ValueError),
    ],
)
def test_a_table_that_is_unknown_or_missing_is_told(text, error):
    with pytest.raises(error, match="spe"):
        rewritten(text)


def test_a_changed_number_is_seen():
    number = re.search(r"\d+\.\d+ ms", REGION.search(README)[0])[0]
    assert rewritten(README.replace(number, "0.001 ms")) == README
