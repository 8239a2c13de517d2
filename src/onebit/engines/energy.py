"""Energy of a call, from the counters of the CPU (RAPL), where the system lets them be read."""

import re
import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """The energy counters of all CPU packages, in microjoules, as Linux shows them (Intel and AMD).

    They count everything that a package does, what idles in it and other processes included.

    Attributes:
        why_not: why there is nothing to read here; "" where there is.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:0 is a part of it, and "psys" the whole platform with it
        zones = sorted(zone for zone in folder.glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", zone.name))
        self._zones: list[tuple[Path, int]] = []
        self.why_not = ""
        try:
            for zone in zones:
                if (zone / "name").read_text().startswith("package"):
                    int((zone / "energy_uj").read_text())
                    self._zones.append((zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())))
        except (OSError, ValueError) as error:
            denied = isinstance(error, PermissionError)
            self.why_not = f"the counters in {folder} cannot be read" + (" without root" if denied else "")
        else:
            if not self._zones:
                self.why_not = f"there are no energy counters (RAPL) in {folder}"

    def _read(self) -> list[int]:
        return [int(counter.read_text()) for counter, _ in self._zones]

    def per_call(self, function: Callable[[], object], seconds: float = 0.5) -> float:
        """Joules of one call, the mean over calls for ``seconds``; a counter that overflows in the meantime is told by
        its smaller value.
        """
        assert not self.why_not, self.why_not
        function()
        before, calls = self._read(), 0
        deadline = time.perf_counter() + seconds
        while not calls or time.perf_counter() < deadline:
            function()
            calls += 1
        used = 0
        for (_, limit), start, end in zip(self._zones, before, self._read(), strict=True):
            used += end - start if end >= start else end - start + limit
        return used * 1e-6 / calls
