"""dvc.yaml from the declarations."""

from benchmarks.synthetic_project import Checkout


def test_the_text_is_the_same_each_time_and_check_fails_when_it_is_old(fresh: Checkout) -> None:
    before = (fresh.root / "dvc.yaml").read_bytes()
    assert "was up to date" in fresh.call(fresh.steerkit("dag", "--write", "--check")).stdout
    fresh.edit(
        "tasks/left.py", "from tasks.pause import pause", "from tasks.pause import pause\nimport tasks.unrelated"
    )
    failed = fresh.call(fresh.steerkit("dag", "--check"), check=False)
    assert failed.returncode == 2
    assert "+      - tasks/unrelated.py" in failed.stdout
    assert (fresh.root / "dvc.yaml").read_bytes() == before


def test_dvc_is_told_to_write_dvc_yaml_first_when_a_declaration_is_newer(fresh: Checkout) -> None:
    fresh.edit("tasks/make_numbers.py", "import json", "import json\nimport tasks.unrelated")
    failed = fresh.repro("demo-numbers", check=False)
    assert failed.returncode != 0
    assert "steerkit dag --write" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_frozen_and_uncached_and_descriptions_are_written(fresh: Checkout) -> None:
    text = (fresh.root / "dvc.yaml").read_text()
    assert "frozen: true" in text
    assert "models/weights.txt:\n          cache: false" in text
    assert "desc: Make the numbers." in text
    shown = fresh.call(fresh.steerkit("dag", "--show")).stdout
    assert shown.index("demo-report") < shown.index("demo-pictures") < shown.index("demo-left")


def test_mistakes_are_one_message_and_code_2(fresh: Checkout) -> None:
    for arguments, said in (
        (["run", "dmo", "--no-prefect"], "did you mean demo"),
        (["run", "demo", "--no-prefect", "--params", "no.yaml"], "no such file"),
    ):
        failed = fresh.call(fresh.steerkit(*arguments), check=False)
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
