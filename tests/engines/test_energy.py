"""Energy counters, from made-up files of the system."""

from pathlib import Path

import pytest

from onebit.engines.energy import EnergyMeter


def zone(folder, name, called, joules, limit=100.0):
    (folder / name).mkdir()
    (folder / name / "name").write_text(f"{called}\n")
    (folder / name / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{round(limit * 1e6)}\n")
    return folder / name / "energy_uj"


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    counters = [zone(tmp_path, "intel-rapl:0", "package-0", 10), zone(tmp_path, "intel-rapl:1", "package-1", 99.5)]
    counters += [zone(tmp_path, "intel-rapl:0:0", "core", 5), zone(tmp_path, "intel-rapl:2", "psys", 50)]
    (tmp_path / "intel-rapl").mkdir()
    meter = EnergyMeter(tmp_path)
    assert meter.why_not == ""
    calls = []

    def call():  # the first is not counted; each of the others takes 0.25 J in either package, the second overflows
        calls.append(None)
        for counter, value in zip(counters, (10, 99.5, 5, 50), strict=True):
            joules = (value + 0.25 * (len(calls) - 1)) % 100
            counter.write_text(f"{round(joules * 1e6)}\n")

    def four_calls():
        for _ in range(4):
            call()

    calls.append(None)
    assert meter.per_call(four_calls, seconds=0) == pytest.approx(4 * 0.5)


def test_no_counters(tmp_path):
    assert EnergyMeter(tmp_path).why_not == f"there are no energy counters (RAPL) in {tmp_path}"
    assert "no energy counters" in EnergyMeter(tmp_path / "missing").why_not
    zone(tmp_path, "intel-rapl:2", "psys", 50)
    assert "no energy counters" in EnergyMeter(tmp_path).why_not


def test_counters_for_root_alone(tmp_path, monkeypatch):
    counter, read = zone(tmp_path, "intel-rapl:0", "package-0", 10), Path.read_text

    def refuse(path, *options):  # root may read every file, so its mode would not do
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *options)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "cannot be read without root" in EnergyMeter(tmp_path).why_not


def test_a_damaged_counter(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 10).write_text("none\n")
    assert EnergyMeter(tmp_path).why_not == f"the counters in {tmp_path} cannot be read"
