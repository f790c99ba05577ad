"""What a frequency run leaves behind: frequency.json and the record at 20 Hz as CSV."""

import csv
import json
from pathlib import Path
from typing import Any

from hil.bench.provenance import commit_of, firmware_sha256
from hil.bench.site import Paths
from hil.frequency.bench import FINE_MS, RECORD_MS, Response

RESULTS_FILE = "frequency.json"
RECORD_FILE = "record.csv"
VERSION = 1


def document(response: Response, paths: Paths) -> dict[str, Any]:
    """Return frequency.json."""
    product = response.product
    return {
        "version": VERSION, "product": product.name, "trace": response.trace.name,
        "seed": response.seed, "clock": response.clock_name, "simulation": True,
        "passed": response.passed, "commit": commit_of(paths.firmware),
        "firmware_sha256": firmware_sha256(paths.firmware, paths.board),
        "contract_w": response.contract_w, "nominal_mhz": product.nominal_mhz,
        "curve_mhz_bp": [list(point) for point in product.curve.points],
        "ramp_pct_per_s": product.ramp_pct_per_s, "meter": response.meter.text(),
        "resolution_ms": FINE_MS, "record_period_ms": RECORD_MS,
        "clock_error_ms": response.clock_error_ms,
        "steps": [{
            "at_ms": one.step.at_ms, "deviation_mhz": one.step.deviation_mhz,
            "asked_w": round(one.asked_w, 1), "start_ms": one.start_ms, "full_ms": one.full_ms,
            "overshoot_pct": round(one.overshoot_pct, 3), "settled_ms": one.settled_ms,
        } for one in response.steps],
        "limits": response.limits, "tracking": response.tracking,
    }


def write(response: Response, folder: Path, paths: Paths) -> dict[str, Any]:
    """Write both files to a folder and return the document."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = document(response, paths)
    (folder / RESULTS_FILE).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    with (folder / RECORD_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["t_s", "frequency_hz", "asked_w", "power_w"])
        for at_ms, deviation_mhz, asked_w, power_w in response.record.tolist():
            writer.writerow([f"{at_ms / 1000:.3f}",
                             f"{(response.product.nominal_mhz + deviation_mhz) / 1000:.5f}",
                             f"{asked_w:.1f}", f"{power_w:.1f}"])
    return fields
