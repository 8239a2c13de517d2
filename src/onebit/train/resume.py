"""What must be as it was for a run to go on: its settings, its data, its checkpoint."""

from pathlib import Path
from typing import Any

from onebit.fields import check_fields, mapping, one_of, optional, short, text
from onebit.train.checkpoint import CheckpointError
from onebit.train.files import read_json
from onebit.train.record import FORMAT, RECORD
from onebit.train.settings import TrainSettings

RULES = {"format": one_of(FORMAT), "recipe": optional(text()), "settings": mapping()}


def stored_settings(out: Path) -> tuple[TrainSettings, str | None]:
    """The settings and the recipe's name of the run in ``out``; CheckpointError if there is none."""
    path = out / RECORD
    if not path.is_file():
        raise CheckpointError(f"{str(out)!r} holds no run to resume")
    try:
        record = read_json(path)
        check_fields(record, RULES)
        return TrainSettings.from_json(record["settings"]), record["recipe"]
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged: {error}") from error


def check_settings(settings: TrainSettings, stored: TrainSettings, where: str) -> None:
    """ValueError that names the first setting in which a run is not the one that ``where`` names."""
    mine, theirs = settings.as_json(), stored.as_json()
    for name, value in theirs.items():
        if name in ("teacher", "start_from") and None not in (mine[name], value):
            continue  # that run may lie elsewhere now; the checkpoint knows its weights
        if mine[name] != value:
            raise ValueError(
                f"{where} was started with {name} {value!r}, not {mine[name]!r}; "
                "resume it with its own settings, or start another run in another folder"
            )


def check_data(data: dict[str, Any], stored: dict[str, Any], where: str) -> None:
    """ValueError that says what is different if the data are not those that a run was started with."""
    for name in {**data, **stored}:
        mine, theirs = data.get(name), stored.get(name)
        if mine == theirs:
            continue
        if isinstance(theirs, list) and isinstance(mine, list):
            change = f"{len(theirs)} {name}, the data have {len(mine)}: {_changed(theirs, mine)}"
        elif isinstance(theirs, int):
            change = f"{theirs} {name}, the data have {mine}"
        else:
            change = f"other images or labels, as many as there are now ({name} {short(theirs)}, now {short(mine)})"
        raise ValueError(
            f"{where} was started with {change}; put the data back, or start another run in another folder"
        )


def _changed(before: list[Any], now: list[Any]) -> str:
    new, gone = [x for x in now if x not in before], [x for x in before if x not in now]
    parts = [
        f"{', '.join(map(repr, names[:5]))}{' and more' * (len(names) > 5)} {'is' if len(names) == 1 else 'are'} {word}"
        for names, word in ((new, "new"), (gone, "gone"))
        if names
    ]
    return ", ".join(parts) or "in another order"
