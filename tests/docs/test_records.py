"""The numbers of README and of reports/ are those of the records."""

import re

import pytest

from onebit.study import read_study, study_rows, study_table
from readme import REGION, ROOT, rewritten
from report.networks import networks_table
from report.speed import speed_table
from speed import last_run

README = (ROOT / "README.md").read_text()


def test_the_tables_are_those_of_the_records():
    assert rewritten(README) == README, "python benchmarks/readme.py writes them"


def test_results_outside_of_the_tables_have_no_number_of_their_own():
    results = README.partition("## Results\n")[2].partition("\n## ")[0]
    prose = REGION.sub("", results)
    assert not re.findall(r"\d[\d.]*\s?(?:ms|%|s|kB|MB|times|×)(?!\w|\d)", prose)


@pytest.mark.parametrize("other", ["<!-- table: sped -->", ""])
def test_a_table_that_is_unknown_or_missing_is_told(other):
    with pytest.raises(ValueError, match="do not both have the table 'spe"):
        rewritten(README.replace("<!-- table: speed -->", other))


def test_the_tables_of_reports_are_those_of_their_records():
    for folder in (ROOT / "reports", ROOT / "reports" / "avx2"):
        assert networks_table(last_run(folder, "networks")) == (folder / "networks.md").read_text()
    assert speed_table(last_run(ROOT / "reports" / "avx2", "speed")) == (ROOT / "reports/avx2/speed.md").read_text()
    for table in (ROOT / "reports").glob("*/table.md"):
        study = read_study(ROOT / "studies" / f"{table.parent.name}.yaml")
        assert study_table(study, study_rows(study, table.parent)) == table.read_text()


def test_a_changed_number_is_seen():
    number = re.search(r"\d+\.\d+ ms", REGION.search(README)[0])[0]
    assert rewritten(README.replace(number, "0.001 ms")) == README
