"""What a study file says: its runs, their settings, seeds and dependencies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from onebit.fields import check_fields, list_of, mapping, text, whole
from onebit.recipes import RECIPES
from onebit.train import TrainSettings

FROM_RUN = "run:"  # "run:NAME": the folder of that run of the study
_ROLES = ("teacher", "start_from")  # settings that name another run's folder
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DEFAULTS: dict[str, Any] = {"settings": {}, "seeds": [0]}
_RULES = {"settings": mapping(), "seeds": list_of(whole())}
_STUDY = {**_RULES, "title": text(), "recipe": text(), "runs": mapping()}
_ROW = {**_RULES, "label": text(), "recipe": text()}


class StudyError(ValueError):
    """A study file that cannot be used; the message names the file, the field, and what is allowed."""


@dataclass(frozen=True)
class PlannedRun:
    """One training of a study: a row of its table with one seed.

    Attributes:
        row: name of the row, by which others refer to it.
        label: what the table calls it.
        needs: keys of the runs that must be finished before it starts.
        settings: ``teacher`` and ``start_from`` are keys of runs where they are among ``needs``.
    """

    row: str
    label: str
    recipe: str
    settings: TrainSettings
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.row}-seed{self.settings.seed}"

    def settings_in(self, folder: Path) -> dict[str, Any]:
        """The settings as plain values, for runs that lie in ``folder``."""
        values = self.settings.as_json()
        return values | {role: str(folder / values[role]) for role in _ROLES if values[role] in self.needs}


@dataclass(frozen=True)
class Study:
    """A study file that has been read and checked."""

    name: str
    title: str
    runs: tuple[PlannedRun, ...] = field(default=())

    def __iter__(self) -> Iterator[PlannedRun]:
        return iter(self.runs)

    def rows(self) -> dict[str, list[PlannedRun]]:
        """The runs of each row of the table, in the order of the file."""
        rows: dict[str, list[PlannedRun]] = {}
        for run in self.runs:
            rows.setdefault(run.row, []).append(run)
        return rows

    def in_order(self) -> list[PlannedRun]:
        """The runs, each behind those that it needs, otherwise in the order of the file."""
        done: dict[str, PlannedRun] = {}
        left = list(self.runs)
        while left:
            run = next(run for run in left if all(key in done for key in run.needs))  # read_study refuses circles
            done[run.key] = run
            left.remove(run)
        return list(done.values())


def read_study(path: Path | str) -> Study:
    """Read a study file.

    It is YAML: ``recipe``, ``settings`` and ``seeds`` (default: 0) for all runs, an optional ``title``, and ``runs``,
    an object of rows by name.  A row has an optional ``label``, and ``recipe``, ``settings`` and ``seeds`` of its own;
    its settings are added to those for all.  ``teacher: run:NAME`` and ``start_from: run:NAME`` name another row: the
    run there with the same seed, or with its first seed where it has not that one.

    Raises:
        StudyError: the file is no such document, names what there is not, has settings that are refused, or its rows
            need each other in a circle.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"it is no YAML: {' '.join(str(error).split())[:300]}") from None
        return _study(path.stem, document)
    except ValueError as error:
        raise StudyError(f"{str(path)!r}: {error}") from error


def _study(name: str, document: Any) -> Study:
    document = _with_defaults("the study", document, _STUDY, required=("runs",))
    if not document["runs"]:
        raise ValueError("field 'runs' names no run")
    rows: dict[str, dict[str, Any]] = {}
    for row, fields in document["runs"].items():
        if not _NAME.fullmatch(row):
            raise ValueError(
                f"a run's name must be 1 to 64 of a-z, 0-9, '.', '_' and '-', with a letter or digit first, got {row!r}"
            )
        fields = {} if fields is None else fields
        inherited = {key: document[key] for key in ("recipe", "seeds") if key in document}
        check_fields(fields, {}, f"runs.{row}")
        rows[row] = _with_defaults(f"runs.{row}", {**inherited, **fields}, _ROW, required=("recipe",))
        rows[row]["settings"] = {**document["settings"], **rows[row]["settings"]}
        seeds = rows[row]["seeds"]
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"field 'runs.{row}.seeds' must name each seed once, and at least one, got {seeds}")
    study = Study(name, document.get("title", name), tuple(run for row in rows for run in _planned(row, rows)))
    _refuse_circles({run.key: run.needs for run in study})
    return study


def _with_defaults(owner: str, fields: Any, rules: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    check_fields(fields, {name: rules[name] for name in required}, "" if owner == "the study" else owner)
    check_fields(fields, {name: rule for name, rule in rules.items() if name in fields}, owner)
    if unknown := sorted(set(fields) - set(rules), key=str):
        raise ValueError(f"{owner} has the unknown field {unknown[0]!r}; choose from {list(rules)}")
    return {**_DEFAULTS, **fields}


def _planned(row: str, rows: dict[str, dict[str, Any]]) -> Iterator[PlannedRun]:
    fields = rows[row]
    for seed in fields["seeds"]:
        changes, needs = dict(fields["settings"]), []
        for role in _ROLES:
            wanted = changes.get(role)
            if isinstance(wanted, str) and wanted.startswith(FROM_RUN):
                other = wanted.removeprefix(FROM_RUN)
                if other not in rows:
                    raise ValueError(f"runs.{row}: {role} names the run {other!r}; choose one of {sorted(rows)}")
                there = rows[other]["seeds"]
                changes[role] = f"{other}-seed{seed if seed in there else there[0]}"
                needs.append(changes[role])
        if "seed" in changes:
            raise ValueError(f"runs.{row}: 'seed' is no setting of a study; list the seeds in 'seeds'")
        try:
            settings = TrainSettings.from_json({**RECIPES[fields["recipe"]]().as_json(), **changes, "seed": seed})
        except ValueError as error:
            raise ValueError(f"runs.{row}: {error}") from error
        yield PlannedRun(row, fields.get("label", row), fields["recipe"], settings, tuple(needs))


def _refuse_circles(needs: dict[str, tuple[str, ...]]) -> None:
    done: set[str] = set()
    while len(done) < len(needs):
        ready = {key for key, wanted in needs.items() if key not in done and set(wanted) <= done}
        if not ready:
            raise ValueError(f"these runs need each other in a circle: {sorted(set(needs) - done)}")
        done |= ready
