"""The table of drafters, from figures made up so that each cell can be worked out by hand."""

from tools.drafters import rows, table


def measured(depth: int, rates: dict[str, float]) -> dict:
    """What `graft measure --json` prints, with these rates for code and half of them for all."""
    shares = {"acceptance_by_depth": [0.5, 0.25][:depth], "tokens_per_round": 1.75}

    def part(scale: float) -> dict:
        return shares | {f"{way}_per_s": rate * scale for way, rate in rates.items()}

    return {"kinds": {"code": part(1.0)}, "all": part(0.5), "depth": depth, "same_text": True}


def test_speeds_stand_over_the_plain_run_of_their_own_file():
    mtp = measured(2, {"plain": 100.0, "mtp": 150.0, "suffix": 120.0, "auto": 180.0})
    medusa = measured(2, {"plain": 200.0, "medusa": 220.0, "suffix": 260.0, "auto": 300.0})
    found = rows([mtp, medusa])
    assert [row.times_plain["code"] for row in found] == [1.2, 1.5, 1.8, 1.1, 1.5]
    assert [row.times_plain["all"] for row in found] == [1.2, 1.5, 1.8, 1.1, 1.5]
    lines = table(found).splitlines()
    assert lines[0] == "|  | depth 1 | depth 2 | tokens a round | code | all |"
    assert lines[2] == "| copies alone |  |  |  | 1.20 | 1.20 |"
    assert lines[3] == "| MTP layers, 2 guesses every round | 0.50 | 0.25 | 1.75 | 1.50 | 1.50 |"
    assert lines[-1] == "| `outpace run` with the Medusa heads |  |  |  | 1.50 | 1.50 |"
