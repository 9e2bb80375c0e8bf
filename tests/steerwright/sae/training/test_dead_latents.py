import torch

from steerwright.sae.training.trainer import LIST_EVERY, DeadLatents


def fired(*latents: int) -> torch.Tensor:
    return torch.zeros(4, dtype=torch.bool).index_fill(0, torch.tensor(latents, dtype=torch.int64), True)


def test_latents_die_by_rows_and_not_by_steps() -> None:
    dead = DeadLatents(4, after_rows=100, device=torch.device("cpu"))
    dead.count(fired(0, 1), rows=60, step=1)
    assert dead.share == 0
    dead.count(fired(0), rows=60, step=2)
    assert dead.rows_since_fired.tolist() == [0, 60, 120, 120]
    assert dead.share == 0.5
    dead.count(fired(2), rows=60, step=3)
    assert dead.rows_since_fired.tolist() == [60, 120, 0, 180]


def test_the_list_is_made_anew_every_16th_step() -> None:
    dead = DeadLatents(4, after_rows=10, device=torch.device("cpu"))
    for step in range(1, LIST_EVERY):
        dead.count(fired(1, 2), rows=10, step=step)
        assert dead.listed.tolist() == []
    dead.count(fired(1, 2), rows=10, step=LIST_EVERY)
    assert dead.listed.tolist() == [0, 3]
