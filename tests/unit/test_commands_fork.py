"""A run that begins with another's files: what is taken along, Snakemake's records of it, and what is refused."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from nndefense.cli import main
from nndefense.commands.fork import fork, name_of
from nndefense.commands.fork_records import Move, belongs, moved, read_records, record_file, write_records
from nndefense.core.errors import InputError
from nndefense.core.lease import Lease

NAMED, UNNAMED = Move("old", "new"), Move("", "new")
RECORD = {
    "rule": "vote",
    "input": ["data/x.npy", "results/old/a.npy", "results/other/b.npy"],
    "log": ["results/old/logs/vote.log"],
    "shellcmd": "python vote.py --root results/old/predictions 'results/old/a.npy' --log results/old/logs/vote.log",
    "params": ["'z'", 'c0ffee {"root": "results/old/predictions"}'],
    "code": "python {params.job}",
    "input_checksums": {"data/x.npy": "sha256:1", "results/old/a.npy": "sha256:2"},
    "conda_env": None,
    "job_hash": 5,
    "record_format_version": 6,
}


@pytest.fixture
def home(tmp_path):
    """A folder with a run, `old`, of which Snakemake has records, as it has of one beside it."""
    files = {
        "models/m.safetensors": "weights",
        "predictions/p.npz": "votes",
        "table1.md": "| a |",
        "card.md": "snakemake results/old/card.md",
    }
    for name, content in files.items():
        add(tmp_path, f"results/old/{name}", content)
    add(tmp_path, "results/old/temporary.npy", None)
    add(tmp_path, "results/older/table1.md", "| b |")
    record = json.loads(found(tmp_path, "results/old/card.md").read_text())
    found(tmp_path, "results/old/card.md").write_text(json.dumps(record | {"params": ["x results/old/card.md"]}))
    for name in ("seals/table1.md.json", "seals/jobs/p.npz.json", "seals/.hidden.part", "notes.txt", "logs/vote.log"):
        place = tmp_path / "results/old" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
    return tmp_path


def found(folder: Path, path: str, kind: str = "metadata") -> Path:
    place = folder / ".snakemake" / kind
    place.mkdir(parents=True, exist_ok=True)
    return record_file(place, path)


def add(folder: Path, path: str, content: str | None) -> None:
    """A file, or none, and its record."""
    file = found(folder, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(RECORD | {"params": ["c0ffee {}"]}))
    if content is not None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        os.utime(folder / path, ns=(10**18 + 7, 10**18 + 123456789))


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# -- records


def test_a_record_is_that_of_the_new_run():
    assert moved(RECORD, NAMED) == RECORD | {
        "input": ["data/x.npy", "results/new/a.npy", "results/other/b.npy"],
        "log": ["results/new/logs/vote.log"],
        "shellcmd": RECORD["shellcmd"].replace("results/old", "results/new"),
        "params": ["'z'", 'c0ffee {"root": "results/new/predictions"}'],
        "input_checksums": {"data/x.npy": "sha256:1", "results/new/a.npy": "sha256:2"},
    }


def test_inputs_are_in_the_order_in_which_snakemake_compares_them():
    assert moved({"input": ["results/m/b", "results/old/a"]}, Move("old", "a"))["input"] == [
        "results/a/a",
        "results/m/b",
    ]


def test_records_of_other_versions_have_fewer_fields():
    assert moved({"input": None, "rule": "x"}, NAMED) == {"input": None, "rule": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "results/older/a results/old-2/a results/old.csv",
        "/data/results/old/a ./results/old/a other-results/old/a",
    ],
)
def test_others_paths_stay_in_texts(text):
    assert NAMED.text(text) == text
    assert not NAMED.named_in(text)


def test_paths_in_texts_have_their_new_names():
    assert NAMED.text('x="results/old" y=results/old/b;--run results/old') == (
        'x="results/new" y=results/new/b;--run results/new'
    )
    assert UNNAMED.text('"results/attacks/a" results/table1.md results/seals') == (
        '"results/new/attacks/a" results/new/table1.md results/new/seals'
    )
    others = "results/other/attacks/a /x/results/attacks best results/a results of all"
    assert UNNAMED.text(others) == others


def test_other_runs_lie_within_the_one_without_a_name():
    assert belongs("results/attacks/a.npz", "")
    assert belongs("results/fig5.pdf", "")
    assert not belongs("results/other/attacks/a.npz", "")
    assert not belongs("data/attacks/a.npz", "")
    assert belongs("results/old/anything/a.npz", "old")
    assert not belongs("results/older/a.npz", "old")
    assert UNNAMED.path("results/attacks/a.npz") == "results/new/attacks/a.npz"
    assert UNNAMED.path("results/other/attacks/a.npz") == "results/other/attacks/a.npz"


def test_records_lie_where_snakemake_looks_for_them(tmp_path):
    persistence = pytest.importorskip("snakemake.persistence.file").FilePersistence(path=tmp_path)
    folder = tmp_path / "metadata"
    paths = [
        "results/a",
        "results/" + "long/" * 200 + "ü.npz",
        *(f"results/{'x' * length}" for length in range(160, 200)),
    ]
    write_records(folder, "", {})
    for path in paths:
        persistence._io_write(str(folder), {"rule": path}, path)
        assert record_file(folder, path).is_file()
    assert read_records(folder, "") == {path: {"rule": path} for path in sorted(paths) if path.count("/") == 1}
    assert read_records(folder, "long") == {paths[1]: {"rule": paths[1]}}


# -- files


def test_what_a_run_begins_with(home):
    forked = fork("old", "new", home)
    base, new = home / "results/old", home / "results/new"
    kept = {"models/m.safetensors", "predictions/p.npz", "table1.md"}
    # Nobody knows whether notes are written anew or in place; logs tell of the other run's jobs.
    assert below(new) == kept | {"seals/table1.md.json", "seals/jobs/p.npz.json"}
    assert (forked.files, forked.copied, forked.unlike) == (3, 0, ["card.md"])
    assert str(forked) == "results/new: begins with 3 files of results/old, linked; it makes its own of card.md"
    for name in kept:
        assert (new / name).samefile(base / name)
    records = read_records(home / ".snakemake/metadata", "new")
    # A file that jobs delete when they are done with it is known as well.
    assert set(records) == {f"results/new/{name}" for name in kept | {"temporary.npy"}}
    assert "results/new/a.npy" in records["results/new/table1.md"]["input"]
    assert found(home, "results/new/table1.md").stat().st_mode & 0o777 == 0o660
    assert set(read_records(home / ".snakemake/metadata", "older")) == {"results/older/table1.md"}


def test_files_are_copied_where_there_are_no_links(home, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    assert str(fork("old", "new", home)).endswith("5 copied, others linked; it makes its own of card.md")
    base, new = home / "results/old/table1.md", home / "results/new/table1.md"
    assert not new.samefile(base)
    assert new.read_bytes() == base.read_bytes()
    assert new.stat().st_mtime_ns == base.stat().st_mtime_ns


def test_what_a_link_points_at_is_taken(home):
    elsewhere = home / "elsewhere"
    shutil.move(home / "results/old", elsewhere)
    (home / "results/old").symlink_to("../elsewhere")
    (elsewhere / "table1.md").rename(elsewhere / "real.md")
    (elsewhere / "table1.md").symlink_to("real.md")
    fork("old", "new", home)
    assert not (home / "results/new/table1.md").is_symlink()
    assert (home / "results/new/table1.md").samefile(elsewhere / "real.md")


def test_files_of_a_job_that_was_stopped_stay_behind(home):
    found(home, "results/old/predictions/p.npz", "incomplete").write_text("{}")
    assert fork("old", "new", home).unlike == ["card.md", "predictions/p.npz"]
    assert not (home / "results/new/predictions").exists()


def test_nothing_is_left_of_an_earlier_run_of_that_name(home):
    for path in ("results/new/gone.md", "results/new/table1.md"):
        add(home, path, None)
        found(home, path, "incomplete").write_text("{}")
    found(home, "results/older/table1.md", "incomplete").write_text("{}")
    (home / "results/.new.fork").mkdir()
    (home / "results/.new.fork/half.md").write_text("of a fork that was killed")
    fork("old", "new", home)
    assert "results/new/gone.md" not in read_records(home / ".snakemake/metadata", "new")
    assert [path.name for path in (home / ".snakemake/incomplete").iterdir()] == [
        found(home, "results/older/table1.md", "incomplete").name
    ]
    assert {path.name for path in (home / "results").iterdir()} == {"old", "older", "new"}
    assert not (home / "results/new/half.md").exists()


def test_a_full_disk_leaves_nothing(home, monkeypatch, capsys):
    real = os.link

    def fill(source, place):
        if "predictions" in str(source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        real(source, place)

    monkeypatch.setattr(os, "link", fill)
    monkeypatch.chdir(home)
    assert main(["fork", "old", "new"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "No space left" in said
    assert {path.name for path in (home / "results").iterdir()} == {"old", "older"}
    assert read_records(home / ".snakemake/metadata", "new") == {}


# -- what is refused


def refused(base: str, new: str, folder: Path) -> str:
    before = below(folder)
    with pytest.raises(InputError) as error:
        fork(base, new, folder)
    assert below(folder) - {".snakemake/nndefense.lease"} == before - {".snakemake/nndefense.lease"}
    return str(error.value)


def test_names_that_cannot_be(home):
    assert refused("old", "older", home) == (
        "results/older: is there already; allowed: a name of a run that is not, or delete it first"
    )
    assert refused("old", "Old", home) == "NEW is 'Old', as BASE is; allowed: another name"
    for name in ("", "a/b", "..", "attacks", "Seals", "x" * 65, "-x", "a\n"):
        assert refused("old", name, home).startswith(f"NEW is {name!r}; allowed: a name of 1 to 64 letters")
    assert refused("../old", "new", home).startswith("BASE is '../old'; allowed: ")


def test_a_base_that_snakemake_does_not_know(home, tmp_path):
    for name in ("absent", ""):
        assert "Snakemake has no records of it in .snakemake/metadata; allowed: " in refused(name, "new", home)
    shutil.rmtree(home / "results/older")
    assert "results/older: Snakemake has no records" in refused("older", "new", home)
    shutil.rmtree(home / ".snakemake")
    assert refused("old", "new", home).endswith("there is no such folder; allowed: where a run was made")


def test_while_a_run_works_here(home):
    with Lease(home / ".snakemake/nndefense.lease"):
        assert "another run works here" in refused("old", "new", home)
    (home / ".snakemake/locks").mkdir()
    (home / ".snakemake/locks/0.output.lock").write_text("results/old/table1.md\n")
    assert "is locked by a run; allowed: when it has ended" in refused("old", "new", home)


def test_a_run_that_was_killed_keeps_nobody_out(home):
    lease = Lease(home / ".snakemake/nndefense.lease")
    with lease:
        lease.sign()
        signed = lease.file.read_bytes()
    lease.file.write_bytes(signed)
    (home / ".snakemake/locks").mkdir()
    (home / ".snakemake/locks/0.output.lock").write_text("results/old/table1.md\n")
    assert fork("old", "new", home).files == 3
    # Whose lock it was is forgotten by now: the next run must not take it for one that still works.
    assert not list((home / ".snakemake/locks").iterdir())


def test_the_command_takes_folders_too(home, monkeypatch, capsys):
    assert [name_of(word) for word in ("a", "results/a/", "./results/a", ".", "", "results")] == [*"aaa", "", "", ""]
    monkeypatch.chdir(home)
    assert main(["fork", "results/old", "results/new"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "results/new: begins with 3 files of results/old, linked; it makes its own of card.md"
    assert "--config run=new" in said[1]
    assert main(["fork", "old", "new"]) == 1
    assert capsys.readouterr().err.startswith("error: results/new: is there already")
