import math

from steerwright.lab.operations.steer_text import Answer, SteeredText, Token
from steerwright.lab.token_view import coloured, plain, share, summary, where, writing


def _answer(*tokens: Token, ended: bool = True) -> Answer:
    return Answer("".join(token.text for token in tokens), tokens, ended, 2.0, {"happy": 0.25})


def test_a_token_is_tinted_by_how_much_likelier_it_became() -> None:
    up, down, same = Token("up", -3.0, -1.0), Token("down", -1.0, -2.0), Token("same", -1.0, -1.0)
    first, second, third = coloured(_answer(up, down, same)).split("</span>")[:3]
    # 2 of 4 nats are half of the deepest tint, 0.5.
    assert "rgba(var(--up),0.25)" in first
    assert "rgba(var(--down),0.12)" in second
    assert "style" not in third


def test_the_numbers_of_a_token_are_told() -> None:
    told = coloured(_answer(Token("x", math.log(0.1), math.log(0.4))))
    assert "10\u202f% → 40\u202f%" in told
    assert "4\u202f\u00d7 likelier" in told


def test_nothing_that_a_model_writes_becomes_markup() -> None:
    evil = '<img src=x onerror="alert(1)">'
    tokens = Token(evil, -1.0, -0.5), Token(evil, math.nan, 0.0)
    for shown in (writing([evil]), *(coloured(_answer(token)) for token in tokens)):
        assert "<img" not in shown
        assert "&lt;img" in shown


def test_an_answer_that_was_cut_off_says_so() -> None:
    token = Token("x", -1.0, -1.0)
    assert "cut off" in coloured(_answer(token, ended=False))
    assert "cut off" not in coloured(_answer(token))
    assert "ended the answer at once" in coloured(_answer())


def test_the_summary_compares_both_answers() -> None:
    found = SteeredText(
        "p", "happy", "add", (3,), 0.6, 0, _answer(Token("a", -1.0, -1.0)),
        Answer("b", (), True, 5.0, {"happy": 0.9}), norm=12.0, push=1.5, reader="classifier",
    )  # fmt: skip
    shown = summary(found)
    for words in ("25\u202f% → 90\u202f%", "2 → 5", "2.5\u202f\u00d7", "by the classifier", "layer 3", "12"):
        assert words in shown


def test_numbers_are_written_with_as_many_digits_as_matter() -> None:
    values = (0.5, 12.34, 123.4, -0.25, math.nan, 0.0)
    assert [plain(value) for value in values] == ["0.5", "12.3", "123", "\u22120.25", "\u2013", "0"]
    assert (share(0.999), share(math.inf)) == ("100\u202f%", "\u2013")


def test_layers_are_named_in_a_word_or_two() -> None:
    assert where([3]) == "layer 3"
    assert where((1, 4)) == "layers 1, 4"
    assert where([2, 3]) == "layers 2, 3"
    assert where(range(8)) == "layers 0 to 7"
    assert where([0, 2, 3]) == "layers 0, 2, 3"
