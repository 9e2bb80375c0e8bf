import pytest

from steerwright.lab.charts.charts import STAGES, layers_of, stage_of


def test_thirty_two_layers_are_four_stages_of_eight() -> None:
    assert [layers_of(stage, 32) for stage in STAGES] == [
        tuple(range(0, 8)),
        tuple(range(8, 16)),
        tuple(range(16, 24)),
        tuple(range(24, 32)),
    ]


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 8, 12, 31])
def test_every_layer_belongs_to_exactly_one_stage_and_stages_follow_one_another(layers: int) -> None:
    assert [layer for stage in STAGES for layer in layers_of(stage, layers)] == list(range(layers))


def test_the_first_layer_reads_and_the_last_speaks() -> None:
    assert stage_of(0, 8).name == "Reading"
    assert stage_of(7, 8).name == "Speaking"
