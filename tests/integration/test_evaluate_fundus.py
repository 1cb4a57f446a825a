from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.__main__ import app
from bot.evaluate_fundus import Wanted, evaluate_fundus
from bot.settings import Settings

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fundus"


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A clinic's folder: three retinas, a photo of something else, and two files that are none."""
    rows = ["file,patient,is_fundus,dr_grade,source"]
    for n, grade in enumerate((0, 2, 4)):
        name = f"idrid_grade{grade}.jpg"
        shutil.copy(FIXTURES / name, tmp_path / name)
        rows.append(f"{name},p{n},1,{grade},room 1")
    shutil.copy(FIXTURES / "not_a_fundus.jpg", tmp_path / "cat.jpg")
    (tmp_path / "broken.jpg").write_bytes((FIXTURES / "idrid_grade0.jpg").read_bytes()[:9000])
    rows += ["cat.jpg,p4,0,,room 2", "broken.jpg,p5,1,0,room 2", "gone.jpg,p6,1,0,room 2"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return tmp_path


def the_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_clinics_folder_gets_predictions_figures_and_a_page(
    clinic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.evaluate_fundus._POLITE", 0)
    for workers in (1, 2):  # how many work at once changes nothing
        wanted = Wanted(
            clinic / "labels.csv",
            clinic / f"out{workers}.csv",
            clinic / f"report{workers}",
            workers=workers,
            as_json=True,
        )
        assert evaluate_fundus(Settings(), wanted) == 1  # two could not be read
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == second
    assert (clinic / "out1.csv").read_bytes() == (clinic / "out2.csv").read_bytes()
    assert (clinic / "report1/roc.png").read_bytes() == (clinic / "report2/roc.png").read_bytes()
    assert first["photos"] == 6
    assert {u["file"] for u in first["unreadable"]} == {"broken.jpg", "gone.jpg"}

    rows = {r["file"]: r for r in the_rows(clinic / "out1.csv")}
    assert list(rows) == [r["file"] for r in the_rows(clinic / "labels.csv")]
    assert rows["idrid_grade4.jpg"]["decision_dr"] == "refer"
    assert float(rows["idrid_grade4.jpg"]["dr_referable"]) > float(
        rows["idrid_grade0.jpg"]["dr_referable"]
    )
    assert rows["cat.jpg"]["dr_referable"] == ""
    assert float(rows["cat.jpg"]["is_fundus"]) < 0.5 < float(rows["idrid_grade0.jpg"]["is_fundus"])
    assert rows["broken.jpg"]["is_fundus"] == ""
    assert {r["decision_amd"] for r in rows.values()} == {"not_assessed"}

    html = (clinic / "report1" / "report.html").read_text("utf-8")
    assert html.count("data:image/png;base64,") == 2
    assert "room 1" in html
    assert "broken.jpg" in html
    assert (clinic / "report1" / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_figures_come_and_the_plots_are_missed(
    clinic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.evaluate_fundus._POLITE", 0)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    wanted = Wanted(clinic / "labels.csv", report=clinic / "report", workers=1)
    assert evaluate_fundus(Settings(), wanted) == 1
    said = capsys.readouterr()
    assert "dr_referable" in said.out
    assert "install the extra `evaluation`" in said.err
    assert "data:image/png" not in (clinic / "report" / "report.html").read_text("utf-8")
    assert not (clinic / "report" / "roc.png").exists()


def test_the_commands(clinic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.evaluate_fundus._POLITE", 0)
    monkeypatch.chdir(clinic)
    monkeypatch.setenv("OCULICHAT_DATA_DIR", str(clinic / "data"))
    run = CliRunner().invoke
    photo = str(clinic / "idrid_grade4.jpg")
    said = []
    for arguments in (["fundus", photo, "--json"], ["fundus", "--json", "read", photo]):
        # An option in front means photos too, even one called like a command.
        done = run(app, arguments)
        said.append([json.loads(line) for line in done.stdout.splitlines() if line[0] == "{"])
    (one,), (missing, same) = said
    assert missing["file"] == "read"
    assert "error" in missing
    assert one["findings"] == same["findings"]
    assert one["provider"] == "CPUExecutionProvider"
    done = run(app, ["fundus", "read", photo, "--json", "--card", str(clinic / "cards")])
    assert json.loads(done.stdout)["card"] == str(clinic / "cards" / "idrid_grade4.card.jpg")
    assert (clinic / "cards" / "idrid_grade4.card.jpg").read_bytes().startswith(b"\xff\xd8")

    done = run(app, ["eval", "fundus", "labels.csv", "--predictions", "out.csv", "--json"])
    assert done.exit_code == 1  # two files cannot be read
    assert json.loads(done.stdout)["photos"] == 6
    assert len(the_rows(clinic / "out.csv")) == 6
    done = run(app, ["eval", "fundus", "labels.csv", "--split", "test"])
    assert "no column `split`" in str(done.exception)
    done = run(app, ["fundus", "drift"])
    assert "oculichat migrate" in str(done.exception)
    for arguments in (["fundus"], ["fundus", "--help"]):
        assert "agreement" in run(app, arguments).output
