"""Split the UCI Heart Disease table by hospital: how the four CSV files beside this script were made.

    python prepare.py heart_disease_uci.csv

Rules this script keeps:
- No row, cell or value is dropped, repaired or reordered: the dirt of the collection is the point of it.
- The columns ``id`` and ``dataset`` are replaced by ``pseudonym`` (the hospital's code and the row's place in
  that hospital's list), which consents refer to. Pseudonyms are invented here and stand for no person.

Source: A. Janosi, W. Steinbrunn, M. Pfisterer, R. Detrano (1988), Heart Disease, UCI Machine Learning
Repository, CC BY 4.0. The input is the widely used single table with decoded categories (920 rows).
"""

import csv
import hashlib
import sys
from collections import Counter
from pathlib import Path

SOURCE_SHA256 = "574f2fa2b43012fa25fca4fcdb36bd7c6bccdd0af4242f6c0e4c8633c5a072ae"
HOSPITALS = {
    "Cleveland": ("cleveland.csv", "CLE"),
    "Hungary": ("hungary.csv", "HUN"),
    "VA Long Beach": ("va-long-beach.csv", "VLB"),
    "Switzerland": ("switzerland.csv", "SWI"),
}
REPLACED = ("id", "dataset")


def split(source: Path, folder: Path) -> Counter[str]:
    """Write one file per hospital into ``folder`` and return the number of rows of each."""
    rows = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    kept = [name for name in rows[0] if name not in REPLACED]
    counts: Counter[str] = Counter()
    for hospital, (filename, code) in HOSPITALS.items():
        with (folder / filename).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["pseudonym", *kept])
            for row in rows:
                if row["dataset"] == hospital:
                    counts[hospital] += 1
                    writer.writerow([f"{code}-{counts[hospital]:04d}", *(row[name] for name in kept)])
    return counts


def main() -> int:
    """Check the input's digest, split it and report the row counts."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python prepare.py heart_disease_uci.csv\n")
        return 2
    source = Path(sys.argv[1])
    if hashlib.sha256(source.read_bytes()).hexdigest() != SOURCE_SHA256:
        sys.stderr.write(f"{source} is another file than the one these examples were made from; its SHA-256 differs.\n")
        return 1
    for hospital, count in split(source, Path(__file__).parent).items():
        sys.stdout.write(f"{hospital}: {count} rows\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
