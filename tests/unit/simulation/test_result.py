"""A result shows what was recorded, by name, and says clearly what it does not have."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from novel_actors.config import RecordSettings
from novel_actors.errors import MissingExtra, TableError, UnknownResult
from novel_actors.simulation.records import RecordLog
from novel_actors.simulation.result import Result

# The ids of a kind above the first do not fit in a float: 2**53 + 1 is the smallest integer that does not.
BIG = 2**53 + 1


class State:
    """Two traders and no banker."""

    def kinds(self) -> tuple[str, ...]:
        return ("Trader", "Banker")

    def columns(self, kind_name: str) -> dict[str, Any]:
        rows = self.count(kind_name)
        return {
            "id": np.array([BIG, BIG + 2])[:rows],
            "wealth": np.array([3.5, 1.0])[:rows],
            "at": np.arange(4).reshape(2, 2)[:rows],
            "name": ["a", "b"][:rows],
        }

    def count(self, kind_name: str) -> int:
        return {"Trader": 2, "Banker": 0}[kind_name]


@dataclass(frozen=True, slots=True)
class Statistics:
    messages_total: int = 1234567


class Trader:
    pass


class Moved:
    to: int


class Stolen:
    amount: float


def recorded() -> RecordLog:
    log = RecordLog(None, RecordSettings())
    for tick in (0, 2, 4):
        log.append("wealth", tick, {"mean": [tick / 2], "gini": [None if tick == 0 else 0.25], "count": [tick]})
        log.append("spread", tick, {"histogram": [np.array([tick, 1, 2])]})
        log.append("fortune", tick, {"id": np.array([BIG, BIG + 2]), "value": np.array([tick, 1.5])})
        log.append("mood", tick, {"word": ["calm"]})
    log.append("event.Moved", 1, {"agent": np.array([BIG + 2, BIG]), "to": [7, BIG]})
    log.append("event.Moved", 3, {"agent": np.array([BIG]), "to": [8]})
    log.append("event.Stolen", 1, {"agent": np.array([BIG]), "amount": [0.5]})
    return log


def result(**changes: Any) -> Result:
    arguments: dict[str, Any] = {
        "run_id": "r1",
        "seed": 42,
        "tick": 4,
        "reason": "ticks",
        "digest": "abcdef0123456789",
        "log": recorded(),
        "state": State(),
        "statistics": Statistics(),
        "path": None,
        "seconds": 2.0,
    }
    return Result(**{**arguments, **changes})


def test_a_reduced_frame_is_indexed_by_tick() -> None:
    expected = pd.DataFrame(
        {"mean": [0.0, 1.0, 2.0], "gini": [np.nan, 0.25, 0.25], "count": [0, 2, 4]},
        index=pd.Index([0, 2, 4], name="tick"),
    )
    pd.testing.assert_frame_equal(result().frame("wealth"), expected)
    pd.testing.assert_frame_equal(result()["wealth"], expected)


def test_a_frame_of_agents_has_a_row_for_each_agent_and_tick() -> None:
    frame = result().frame("fortune")
    assert list(frame.columns) == ["tick", "id", "value"]
    assert frame["id"].tolist() == [BIG, BIG + 2] * 3
    assert frame["value"].tolist() == [0.0, 1.5, 2.0, 1.5, 4.0, 1.5]


def test_frames_are_the_collected_tables_and_no_events() -> None:
    assert result().frames == ("wealth", "spread", "fortune", "mood")
    assert result()._ipython_key_completions_() == ["wealth", "spread", "fortune", "mood"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda r: r.frame("welth"), "no frame 'welth' in this result; did you mean 'wealth'?"),
        (
            lambda r: r.frame("event.Moved"),
            "no frame 'event.Moved' in this result; it has wealth, spread, fortune, mood",
        ),
        (lambda r: r["x"], "no frame 'x' in this result; it has wealth, spread, fortune, mood"),
        (lambda r: r.events("Move"), "no event 'Move' in this result; did you mean 'Moved'?"),
        (lambda r: r.agents("trader"), "no kind of agents 'trader' in this result; did you mean 'Trader'?"),
        (lambda r: r.agents(Moved), "no kind of agents 'Moved' in this result; it has Trader, Banker"),
        (lambda r: r.plot("welth"), "no frame 'welth' in this result; did you mean 'wealth'?"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(ask: Callable[[Result], object], words: str) -> None:
    with pytest.raises(UnknownResult, match=re.escape(words)):
        ask(result())


def test_events_of_one_class_keep_their_order_by_name_and_by_class() -> None:
    for event in ("Moved", Moved):
        frame = result().events(event)
        assert frame["tick"].tolist() == [1, 1, 3]
        assert frame["agent"].tolist() == [BIG + 2, BIG, BIG]
        assert frame["to"].tolist() == [7, BIG, 8]


def test_events_of_all_classes_are_interleaved_by_tick_and_agent() -> None:
    frame = result().events()
    assert list(frame.columns) == ["tick", "event", "agent", "to", "amount"]
    assert frame["tick"].tolist() == [1, 1, 1, 3]
    assert frame["event"].tolist() == ["Moved", "Stolen", "Moved", "Moved"]
    assert frame["agent"].tolist() == [BIG, BIG, BIG + 2, BIG]
    # Whole numbers stay exact beside missing ones.
    assert frame["to"].tolist() == [BIG, pd.NA, 7, 8]
    assert frame["amount"].isna().tolist() == [True, False, True, True]
    assert frame["amount"][1] == 0.5


def test_events_of_all_classes_may_disagree_about_the_type_of_a_field() -> None:
    log = RecordLog(None, RecordSettings())
    log.append("event.A", 0, {"agent": [1], "what": ["text"]})
    log.append("event.B", 0, {"agent": [0], "what": [3]})
    log.append("event.C", 1, {"agent": [None], "other": [True]})
    frame = result(log=log).events()
    assert frame["event"].tolist() == ["B", "A", "C"]
    assert frame["what"].tolist()[:2] == [3, "text"]
    assert frame["agent"].tolist() == [0, 1, pd.NA]


def test_a_class_that_was_never_emitted_gives_an_empty_table() -> None:
    empty = result(log=RecordLog(None, RecordSettings()))
    assert list(empty.events(Stolen).columns) == ["tick", "agent", "amount"]
    assert len(empty.events(Stolen)) == len(empty.events()) == 0


def test_agents_are_indexed_by_id() -> None:
    for kind in ("Trader", Trader):
        frame = result().agents(kind)
        assert frame.index.name == "id"
        assert frame.index.tolist() == [BIG, BIG + 2]
        assert frame["wealth"].tolist() == [3.5, 1.0]
        assert [each.tolist() for each in frame["at"]] == [[0, 1], [2, 3]]
    assert len(result().agents("Banker")) == 0


def test_a_digest_is_computed_once_and_only_when_asked_for() -> None:
    calls = []

    def compute() -> str:
        calls.append(1)
        return "beef"

    lazy = result(digest=compute)
    assert repr(lazy) == "<Result of run r1: tick 4 (ticks), seed 42, 2 Trader, 0 Banker>"
    assert calls == []
    assert lazy.digest == lazy.digest == "beef"
    assert calls == [1]
    assert repr(lazy) == "<Result of run r1: tick 4 (ticks), seed 42, 2 Trader, 0 Banker, digest beef>"


def test_the_html_view_names_the_run_and_parses() -> None:
    html = result(path=Path("runs/r1"))._repr_html_()
    table = ET.fromstring(html)
    cells = {row[0].text: "".join(row[1].itertext()) for row in table}
    assert cells["run"] == "r1"
    assert cells["seed"] == "42"
    assert cells["digest"] == "abcdef0123456789"
    assert cells["agents"] == "2 Trader, 0 Banker"
    assert cells["messages"] == "1,234,567"
    assert cells["ticks/s"] == "2.0"
    assert cells["path"] == "runs/r1"
    assert cells["frame fortune"] == "6 rows: id, value"
    assert cells["frame wealth"].startswith("3 rows")
    assert cells["frame spread"] == "3 rowshistogram  3 bins, at the last tick"
    assert len(table.findall(".//svg")) == 4  # mean, gini, count, the last histogram
    points = table.find(".//polyline").get("points").split()  # type: ignore[union-attr]
    assert len(points) == 3


def test_the_html_view_escapes_what_comes_from_a_model() -> None:
    bad = "<script>alert(1)</script>&"
    log = RecordLog(None, RecordSettings())
    log.append("x", 0, {bad: [1.0], "id": [0]})
    log.append("y", 0, {bad: [float("nan")]})
    html = result(run_id=bad, reason=bad, digest=bad, path=Path(bad), log=log)._repr_html_()
    assert "<script" not in html
    ET.fromstring(html)


def test_the_html_view_writes_whole_numbers_out_and_draws_constants_in_the_middle() -> None:
    log = RecordLog(None, RecordSettings())
    for tick in (0, 1):
        log.append("money", tick, {"sum": [1234567890]})
    table = ET.fromstring(result(log=log)._repr_html_())
    assert "".join(table[-1][1].itertext()) == "2 rowssum  1,234,567,890"
    assert table.find(".//polyline").get("points") == "0.0,12.0 160.0,12.0"  # type: ignore[union-attr]


def test_a_plot_has_panels_for_each_frame_over_the_same_ticks() -> None:
    figure = result().plot("wealth", "spread", "fortune")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == ["wealth", "wealth", "spread histogram", "fortune value"]
    wealth, count, spread, fortune = figure.axes[:4]
    assert count.get_ylabel() == "count"
    assert all(place == round(place) for place in fortune.get_xticks())
    assert wealth.get_shared_x_axes().joined(wealth, spread)
    lines = {line.get_label(): line for line in wealth.lines}
    np.testing.assert_array_equal(lines["mean"].get_xdata(), [0, 2, 4])
    np.testing.assert_array_equal(lines["mean"].get_ydata(), [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(lines["gini"].get_ydata(), [np.nan, 0.25, 0.25])
    heat = spread.collections[0].get_array()
    assert heat is not None
    np.testing.assert_array_equal(np.asarray(heat).reshape(3, 3), [[0, 2, 4], [1, 1, 1], [2, 2, 2]])
    np.testing.assert_array_equal(fortune.lines[0].get_ydata(), [0.75, 1.75, 2.75])


def test_columns_share_a_panel_while_their_peaks_are_within_a_factor_of_ten() -> None:
    log = RecordLog(None, RecordSettings())
    rows = {"a": [-1.0, 0.5], "b": [9.0, 10.0], "c": [0.0, 11.0], "zero": [0.0, 0.0], "d": [1e6, None], "e": [0.0, 2e6]}
    for tick in (0, 1):
        log.append("x", tick, {name: [values[tick]] for name, values in rows.items()})
    panels = [[line.get_label() for line in axes.lines] for axes in result(log=log).plot().axes]
    assert panels == [["a", "b", "zero"], ["c"], ["d", "e"]]


def test_a_plot_of_everything_leaves_out_what_holds_no_numbers() -> None:
    figure = result().plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == ["wealth", "wealth", "spread histogram", "fortune value"]


def test_a_plot_of_one_tick_or_of_missing_values_can_be_drawn(tmp_path: Path) -> None:
    log = RecordLog(None, RecordSettings())
    log.append("one", 5, {"mean": [None], "count": [2**60], "bins": [[1, 2]]})
    log.append("agents", 5, {"id": [1], "value": [None]})
    log.append("empty", 5, {"mean": np.zeros(0)})
    result(log=log).save_plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_is_drawn_on_given_axes_and_shown_by_a_notebook() -> None:
    figure = Figure()
    ax = figure.subplots()
    assert result().plot("wealth", ax=ax) is figure
    assert len(ax.lines) == 3
    with pytest.raises(TableError, match="the frames take 3 axes, got 1"):
        result().plot(ax=ax)
    shown: Any = result().plot("wealth")
    assert shown._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_plotted_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="frame 'mood' holds no numbers"):
        result().plot("mood")
    with pytest.raises(TableError, match="no frame to plot"):
        result(log=RecordLog(None, RecordSettings())).plot()
    with pytest.raises(TableError, match=r"cannot write plot .*plot\.nonsense"):
        result().save_plot(tmp_path / "plot.nonsense")
    with pytest.raises(TableError, match="cannot write plot"):
        result().save_plot(tmp_path / "nowhere" / "plot.png")


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "novel_actors.simulation.result_plot", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=re.escape("pip install novel-actors[notebook]")):
        result().plot()


def test_a_result_shows_a_live_log_as_it_was_when_snapshot_was_taken() -> None:
    log = recorded()
    frozen = result(log=log.snapshot())
    log.append("wealth", 6, {"mean": [3.0], "gini": [0.1], "count": [6]})
    log.cut(1)
    assert frozen.frame("wealth").index.tolist() == [0, 2, 4]


def test_importing_the_module_loads_no_pandas_pyarrow_or_matplotlib() -> None:
    program = "import sys, novel_actors.simulation.result, novel_actors.simulation.progress\n"
    program += "assert not {'pandas', 'pyarrow', 'matplotlib', 'tqdm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
