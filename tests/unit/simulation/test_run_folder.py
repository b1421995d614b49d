"""The folder of a run: its manifest, and the model that is made from it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import novel_actors as na
from novel_actors.errors import RunFolderError
from novel_actors.simulation.run_folder import (
    MANIFEST,
    STORE,
    RunManifest,
    clear_folder,
    create_folder,
    describe_model,
    make_manifest,
    make_model,
    read_manifest,
    write_manifest,
)

SEED = 2**128 - 1


@na.message
class Word:
    text: str


class Speaker(na.Agent):
    words: int = 0

    @na.on(Word)
    def hear(self, word: Word, tick: na.Tick) -> None:
        self.words += 1


class Field(na.Population):
    height = na.column(np.float32, shape=(2,))


def simulation(**options: Any) -> na.Simulation:
    sim = na.Simulation(seed=SEED, partitions=5, **options)
    sim.add(Speaker, count=7)
    sim.add(Field, count=3)
    sim.collect("words", of=Speaker, reduce=["mean", "p12.5", na.histogram([0, 1, 4])], every=2)
    sim.collect("height", of=Field)
    sim.stop_when(quiescent=True, wall_time_s=9.0)
    return sim


def manifest_of(sim: na.Simulation) -> RunManifest:
    return make_manifest("mine", sim.model(), None, 4, 3)


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = manifest_of(simulation())
    manifest.goal, manifest.state, manifest.digest = 2**40, "finished", "ab"
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert int(read_manifest(tmp_path).seed) == SEED
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    manifest = manifest_of(simulation())
    write_manifest(tmp_path, manifest)
    before = (tmp_path / MANIFEST).read_bytes()
    (tmp_path / f"{MANIFEST}.new").mkdir()
    manifest.goal = 5
    with pytest.raises(RunFolderError, match=r"run\.json cannot be written: Is a directory"):
        write_manifest(tmp_path, manifest)
    assert (tmp_path / MANIFEST).read_bytes() == before


def test_half_a_manifest_under_its_temporary_name_is_never_read(tmp_path: Path) -> None:
    manifest = manifest_of(simulation())
    write_manifest(tmp_path, manifest)
    (tmp_path / f"{MANIFEST}.new").write_text('{"format":')
    assert read_manifest(tmp_path) == manifest
    write_manifest(tmp_path, manifest)
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2 of the run folder, this program reads 1"),
        ({"format": "other"}, "is not the manifest of a run"),
        ({"seed": str(SEED - 1)}, "is damaged: it was altered since it was written; restore a copy"),
        ({"colour": "red"}, "is damaged: it was altered"),
        ({"sha256": None}, "is damaged: it was altered"),
    ],
)
def test_a_manifest_that_is_not_as_declared_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_manifest(tmp_path, manifest_of(simulation()))
    raw = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**raw, **change}))
    with pytest.raises(RunFolderError, match=words):
        read_manifest(tmp_path)


def test_create_folder_takes_new_empty_and_hardly_begun_folders_only(tmp_path: Path) -> None:
    create_folder(tmp_path / "a" / "b")
    create_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / STORE).mkdir()
    (tmp_path / "a" / "b" / f"{MANIFEST}.new").touch()
    create_folder(tmp_path / "a" / "b")
    with pytest.raises(RunFolderError, match=r"a is not empty: name a new folder"):
        create_folder(tmp_path / "a")
    (tmp_path / "a" / "b" / MANIFEST).touch()
    with pytest.raises(RunFolderError, match=r"b is not empty: resume it"):
        create_folder(tmp_path / "a" / "b")


def test_clear_folder_removes_what_belongs_to_a_run_and_nothing_else(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest_of(simulation()))
    (tmp_path / STORE).mkdir()
    (tmp_path / STORE / "data.mdb").touch()
    (tmp_path / "letter.txt").touch()
    clear_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_model_of_named_classes_and_reducers_is_made_again_from_the_manifest_alone(tmp_path: Path) -> None:
    sim = simulation()
    manifest = manifest_of(sim)
    assert manifest.model["code"] == []
    again, first = make_model(tmp_path, manifest, None), sim.model()
    assert [kind.cls for kind in again.kinds] == [Speaker, Field]
    assert (again.seed, again.partitions, again.on_error) == (SEED, 5, "fail")
    assert (again.stop_quiescent, again.stop_wall_time_s) == (True, 9.0)
    assert describe_model(again) == describe_model(first)
    assert [[r.name for r in c.reducers or ()] for c in again.collectors] == [["mean", "p12.5", "histogram"], []]


def with_function(sim: na.Simulation) -> None:
    sim.collect("twice", of=Speaker, value=lambda speaker: 2 * speaker.words, reduce=["sum"])


def with_reducer(sim: na.Simulation) -> None:
    sim.collect("odd", of=Speaker, value="words", reduce=[na.reducer("odd", map=len, combine=sum)])


def with_predicate(sim: na.Simulation) -> None:
    sim.stop_when(lambda collected: False)


def with_space(sim: na.Simulation) -> None:
    sim.add_space("friends", na.Network.from_edges(7, np.array([0]), np.array([1])), of=Speaker)


@pytest.mark.parametrize(
    ("add", "what"),
    [
        (with_function, "a lambda of collect 'twice'"),
        (with_reducer, "reducer 'odd' of collect 'odd'"),
        (with_predicate, "a lambda of stop_when"),
        (with_space, "the space 'friends'"),
    ],
)
def test_what_is_code_is_named_and_wants_a_simulation(
    tmp_path: Path, add: Callable[[na.Simulation], None], what: str
) -> None:
    sim = simulation()
    add(sim)
    manifest = manifest_of(sim)
    with pytest.raises(
        RunFolderError, match=rf"cannot be found here: {what}. The run was started from Python.*simulation="
    ):
        make_model(tmp_path, manifest, None)
    assert make_model(tmp_path, manifest, sim).kinds


def test_a_class_that_is_gone_is_named(tmp_path: Path) -> None:
    manifest = manifest_of(simulation())
    manifest.kinds[0] = "no_such_module:Speaker"
    with pytest.raises(RunFolderError, match=r"cannot be found here: the class Speaker of no_such_module\."):
        make_model(tmp_path, manifest, None)
    manifest.kinds[0] = f"{__name__}:SEED"
    with pytest.raises(RunFolderError, match="needs the class SEED"):
        make_model(tmp_path, manifest, None)


def test_a_simulation_that_is_not_the_saved_one_is_refused_with_what_differs(tmp_path: Path) -> None:
    manifest = manifest_of(simulation())

    other = na.Simulation(partitions=5)
    other.add(Field, count=3)
    other.add(Speaker, count=7)
    with pytest.raises(RunFolderError, match=r"kind Speaker was saved with fields .*, and Field now has"):
        make_model(tmp_path, manifest, collecting(other))

    fewer = na.Simulation(partitions=5)
    fewer.add(Speaker, count=7)
    fewer.collect("words", of=Speaker, reduce=["mean", "p12.5", na.histogram([0, 1, 4])], every=2)
    with pytest.raises(RunFolderError, match="does not fit the model"):
        make_model(tmp_path, manifest, fewer)

    cut = na.Simulation(partitions=6)
    cut.add(Speaker, count=7)
    cut.add(Field, count=3)
    with pytest.raises(RunFolderError, match="saved with 5 partitions, the simulation makes 6"):
        make_model(tmp_path, manifest, collecting(cut))

    silent = na.Simulation(partitions=5)
    silent.add(Speaker, count=7)
    silent.add(Field, count=3)
    with pytest.raises(RunFolderError, match=r"other collectors \(words, height\) than the simulation has \(nothing\)"):
        make_model(tmp_path, manifest, silent)


def collecting(sim: na.Simulation) -> na.Simulation:
    sim.collect("words", of=Speaker, reduce=["mean", "p12.5", na.histogram([0, 1, 4])], every=2)
    sim.collect("height", of=Field)
    return sim
