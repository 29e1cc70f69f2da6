"""Records add up."""

from outpace.engine.metrics import DraftRecord, Speculation, Timings


def test_rates_by_position():
    record = DraftRecord()
    for n_drafted, n_kept in ((4, 4), (4, 2), (2, 0), (0, 0)):
        record.add(n_drafted, n_kept)
    found = Speculation.of("suffix", record)
    assert (found.rounds, found.drafted, found.accepted) == (4, 10, 6)
    assert found.tokens_per_round == 2.5
    assert found.drafted_by_position == (3, 3, 2, 2)
    assert found.accepted_by_position == (2 / 3, 2 / 3, 0.5, 0.5)


def test_records_of_several_sequences_merge():
    one, two = DraftRecord(), DraftRecord()
    one.add(1, 1)
    two.add(3, 2)
    one.merge(two)
    assert (one.rounds, one.drafted, one.accepted) == (2, [2, 1, 1], [2, 1, 0])


def test_nothing_divides_by_nothing():
    assert Speculation.of("none", DraftRecord()).tokens_per_round == 0
    assert Timings(0, 0, 0, 0, 0).as_json()["predicted_per_s"] == 0
    assert Timings(0, 10, 2.0, 5, 2.0).prompt_per_s == 5
    assert Timings(0, 10, 2.0, 5, 2.0).predicted_per_s == 2
