"""Folders of data may have any name: what is special to patterns is special in the pattern alone."""

import pytest

from nndefense.config import load_config
from nndefense.images.tars import find_tars

from .config_cases import SMALL, changed

FOLDER = "a,b {x} {0..1} {open [1] \\z *? $(x) %s 'q'"


def pattern_below(folder, pattern):
    """The pattern of a set of tars, as jobs are given it."""
    raw = changed(SMALL, ("images", "web"), {"kind": "webdataset", "pattern": pattern})
    return load_config(raw | {"data": str(folder)}).images["web"].pattern


@pytest.mark.parametrize(("pattern", "count"), [("{0..1}.tar", 2), ("*.tar", 2), ("0.tar", 1)])
def test_a_pattern_is_found_in_a_folder_of_any_name(tmp_path, pattern, count):
    folder = tmp_path / FOLDER
    folder.mkdir()
    tars = [folder / "0.tar", folder / "1.tar"]
    for tar in tars:
        tar.touch()
    assert find_tars(pattern_below(folder, pattern)) == tars[:count]


def test_a_plain_folder_and_an_absolute_pattern_are_as_they_are_written():
    assert pattern_below("/data/web", "laion/{00..09}.tar") == "/data/web/laion/{00..09}.tar"
    assert pattern_below("/data/{x}", "/laion/{00..09}.tar") == "/laion/{00..09}.tar"
