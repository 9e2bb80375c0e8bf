"""dvc.yaml from the declarations."""

from tests.synthetic_project import Checkout


def test_the_text_is_the_same_each_time_and_check_fails_when_it_is_old(fresh: Checkout) -> None:
    before = (fresh.root / "dvc.yaml").read_bytes()
    assert "was up to date" in fresh.call(fresh.steerwright("dag", "--write", "--check")).stdout
    fresh.edit(
        "tasks/left.py", "from tasks.pause import pause", "from tasks.pause import pause\nimport tasks.unrelated"
    )
    failed = fresh.call(fresh.steerwright("dag", "--check"), check=False)
    assert failed.returncode == 2
    assert "+      - tasks/unrelated.py" in failed.stdout
    assert (fresh.root / "dvc.yaml").read_bytes() == before


def test_dvc_is_told_to_write_dvc_yaml_first_when_a_declaration_is_newer(fresh: Checkout) -> None:
    fresh.edit("tasks/make_numbers.py", "import json", "import json\nimport tasks.unrelated")
    failed = fresh.repro("demo-numbers", check=False)
    assert failed.returncode != 0
    assert "steerwright dag --write" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_frozen_and_uncached_and_descriptions_are_written(fresh: Checkout) -> None:
    text = (fresh.root / "dvc.yaml").read_text()
    assert "frozen: true" in text
    assert "models/weights.txt:\n          cache: false" in text
    assert "desc: Make the numbers." in text
    shown = fresh.call(fresh.steerwright("dag", "--show")).stdout
    assert shown.index("demo-report") < shown.index("demo-pictures") < shown.index("demo-left")


def test_mistakes_are_one_message_and_code_2(fresh: Checkout) -> None:
    for arguments, said in (
        (["run", "dmo", "--no-prefect"], "did you mean demo"),
        (["run", "demo", "--no-prefect", "--params", "no.yaml"], "no such file"),
    ):
        failed = fresh.call(fresh.steerwright(*arguments), check=False)
        assert failed.returncode == 2, failed.stderr
        assert said in failed.stderr
        assert "Traceback" not in failed.stderr
    fresh.edit("params.yaml", "offset: 1", "ofset: 1")
    failed = fresh.run(check=False)
    assert failed.returncode == 2
    assert "demo.left.ofset: no stage reads this key; did you mean demo.left.offset?" in failed.stderr
    task = fresh.call(["python", "-m", "tasks", "demo-lft"], check=False)
    assert task.returncode == 2
    assert "did you mean" in task.stderr


def test_what_was_current_once_is_written_anew_when_either_side_changes(fresh: Checkout) -> None:
    path = fresh.root / "dvc.yaml"
    write = fresh.steerwright("dag", "--write")
    for _ in range(2):  # the second time it is known to be current
        assert "was up to date" in fresh.call(write).stdout
    first = path.read_text()
    path.write_text(first.replace("desc: Make the numbers.", "desc: Make something else."))
    assert "written" in fresh.call(write).stdout
    assert path.read_text() == first
    fresh.edit("tasks/make_numbers.py", "import json", "import json\nimport tasks.unrelated")
    assert "written" in fresh.call(write).stdout
    assert "- tasks/unrelated.py" in path.read_text()
    path.write_text(first + "  by-hand:\n    cmd: echo hello\n")
    assert "written" in fresh.call(write).stdout
    assert "cmd: echo hello" in path.read_text() and "- tasks/unrelated.py" in path.read_text()
