"""Lists of instances as in the verification competition: ``network,specification,seconds`` a line, and the table of their results."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from certctl.network_queries import Answer, BadQuestion, vnncomp_text

MAX_TEXT = 16 << 20
COLUMNS = ("network", "spec", "result", "seconds", "level", "solver", "witness")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Instance:
    """One line: the two names as written, their paths, and seconds."""

    network: str
    spec: str
    seconds: float
    network_path: Path
    spec_path: Path


def read_instances(path: Path) -> list[Instance]:
    """Read a list; paths are relative to the folder of the list.

    Raises
    ------
    BadQuestion
        When the file is missing or a line has another form.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise BadQuestion(f"the list {path} cannot be read ({error.strerror}); give the path of a CSV file") from None
    except UnicodeDecodeError:
        raise BadQuestion(f"{path} is no text in UTF-8; give a CSV file") from None
    if len(data) > MAX_TEXT or "\0" in text:
        raise BadQuestion(f"{path} is no list of instances; give a CSV file of at most {MAX_TEXT} bytes")
    found = []
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                found.append(_instance([cell.strip() for cell in row], path, rows.line_num))
    except csv.Error as error:
        raise BadQuestion(f"{path}, line {rows.line_num}: {error}; a line has the form NET.onnx,SPEC.vnnlib,SECONDS") from None
    return found


def _instance(row: list[str], path: Path, line: int) -> Instance:
    if not (len(row) == 3 and row[0] and row[1] and _SECONDS.fullmatch(row[2]) and float(row[2]) > 0):
        raise BadQuestion(f"{path}, line {line}: a line has the form NET.onnx,SPEC.vnnlib,SECONDS with a positive number of seconds; correct it")
    return Instance(row[0], row[1], float(row[2]), path.parent / row[0], path.parent / row[1])


class Results:
    """A table that is written line by line, so that an interrupted run keeps what it found; witnesses lie in a folder beside it."""

    def __init__(self, path: Path, force: bool) -> None:
        self.path, self.folder = path, path.parent / f"{path.stem}-witnesses"
        if path.exists() and not force:
            raise BadQuestion(f"{path} exists already; give --force to replace it, or another place with --results")
        try:
            path.write_text(self._row(COLUMNS), encoding="utf-8")
        except OSError as error:
            raise BadQuestion(f"{path} cannot be written ({error.strerror}); give another place with --results") from None

    @staticmethod
    def _row(cells: tuple[str, ...]) -> str:
        out = StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        return out.getvalue()

    def add(self, number: int, instance: Instance, found: Answer) -> None:
        """Append the result of the ``number``-th instance."""
        place = ""
        if found.witnesses:
            self.folder.mkdir(exist_ok=True)
            file = self.folder / f"{number:04d}-{instance.spec_path.stem}.counterexample"
            file.write_text(vnncomp_text(found) + "\n", encoding="utf-8")
            place = file.relative_to(self.path.parent).as_posix()
        cells = instance.network, instance.spec, found.result, f"{found.seconds:.3f}", found.level or "", found.solver, place
        with self.path.open("a", encoding="utf-8") as out:
            out.write(self._row(cells))
