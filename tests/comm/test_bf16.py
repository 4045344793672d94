"""Sums that travel between hosts in 16 bits."""

import numpy as np
import pytest

from caffeonspark.comm import bf16
from caffeonspark.comm.local import local_group
from caffeonspark.comm.shared_memory import share_memory
from tests.comm.test_shared_memory import arrays_of
from tests.support.exchanging import in_threads, shared_group, tcp_group_on

A, B, C = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def rounded(values):
    """What is left of float32 values in 16 bits, by float64 arithmetic: 8 bits of precision, ties to even."""
    values = np.asarray(values, np.float32)
    fractions, exponents = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(fractions * 256), exponents - 8).astype(np.float32)


def through(values):
    encoded, decoded = np.empty(values.size, np.uint16), np.empty(values.size, np.float32)
    bf16.round_with_feedback([values], np.zeros(values.size, np.float32), encoded)
    bf16.decode(encoded, decoded)
    return decoded


def test_rounding_is_to_nearest_ties_to_even():
    rng = np.random.default_rng(1)
    values = (rng.standard_normal(10_000) * 10.0 ** rng.integers(-30, 30, 10_000)).astype(np.float32)
    ties = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x3F808001, 0x3F807FFF], np.uint32).view(np.float32)
    for some in (values, ties, np.zeros(3, np.float32)):
        np.testing.assert_array_equal(through(some), rounded(some))


def test_what_is_no_number_stays_so():
    bits = np.array([0x7F800000, 0xFF800000, 0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF, 0x3F800000], np.uint32)
    found = through(bits.view(np.float32))
    assert list(found[:2]) == [np.inf, -np.inf] and np.isnan(found[2:5]).all() and found[5] == 1
    np.testing.assert_array_equal(through(np.array([np.inf, -np.inf], np.float32)), [np.inf, -np.inf])


def test_rounded_values_are_cut_without_loss():
    values = through(np.random.default_rng(2).standard_normal(1000).astype(np.float32))
    encoded = np.empty(1000, np.uint16)
    bf16.truncate(values, encoded)
    again = np.empty(1000, np.float32)
    bf16.decode(encoded, again)
    np.testing.assert_array_equal(again, values)


def test_what_rounding_takes_is_given_the_next_time():
    value, residual = np.array([1 + 2.0**-12, -3.3e-7], np.float32), np.zeros(2, np.float32)
    total, out = np.zeros(2), np.empty(2, np.uint16)
    for _ in range(1000):
        bf16.round_with_feedback([value[:1], value[1:]], residual, out)
        decoded = np.empty(2, np.float32)
        bf16.decode(out, decoded)
        total += decoded
    np.testing.assert_allclose(total / 1000, value, rtol=1e-5)
    assert through(value)[0] == 1  # without it, all of 2^-12 were lost each time


def test_an_infinite_gradient_does_not_stay():
    residual, out = np.zeros(3, np.float32), np.empty(3, np.uint16)
    bf16.round_with_feedback([np.array([np.inf, np.nan, 1.001], np.float32)], residual, out)
    assert list(residual[:2]) == [0, 0] and residual[2] != 0


@pytest.mark.parametrize("others", [[], [np.inf], [-3.4e38] * 5], ids=["alone", "by infinity", "by more"])
def test_what_is_too_large_for_16_bits_is_infinite_once(others):
    values = np.array([3.4e38, 0.25, *others], np.float32)
    residual, out, decoded = np.zeros_like(values), np.empty(values.size, np.uint16), np.empty_like(values)
    bf16.round_with_feedback([values], residual, out)
    bf16.decode(out, decoded)
    np.testing.assert_array_equal(decoded, [np.inf, 0.25, *(np.inf * np.sign(others))])
    assert not residual.any()
    bf16.round_with_feedback([np.full_like(values, 0.5)], residual, out)
    bf16.decode(out, decoded)
    assert (decoded == 0.5).all()


def test_denormal_numbers_are_rounded_like_others():
    bits = np.array([1, 0x8000, 0x8001, 0x18000, 0x7FFFFF, 0x80000001, 0x80018000], np.uint32)
    values = bits.view(np.float32)
    np.testing.assert_array_equal(through(values), np.round(values.astype(np.float64) / 2.0**-133) * 2.0**-133)


def compressing(hosts, shared=True):
    tcp = tcp_group_on(hosts, compressed=True)
    return in_threads(len(hosts), lambda rank: share_memory(tcp[rank])) if shared else tcp


LAYOUTS = {
    "2 and 2": [A, B, A, B],
    "1, 2 and 1": [A, B, C, B],
    "1 and 1": [A, B],
    "9 of 1": [f"127.0.1.{k}" for k in range(1, 10)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_mean_of_many_sums_is_the_true_one(layout):
    hosts = LAYOUTS[layout]
    size = len(hosts)
    group = compressing(hosts, shared=layout.count("2") > 0)
    shapes, rounds = [(300, 700), (5,)], 30
    gradients = [arrays_of(rank, shapes, np.float32) for rank in range(size)]
    sent = [[array.copy() for array in arrays] for arrays in gradients]
    exact = [sum(arrays[k].astype(np.float64) for arrays in gradients) / size for k in range(2)]
    in_threads(size, lambda rank: group[rank].share(sent[rank]))
    totals, first = [np.zeros(shape) for shape in shapes], None
    for _ in range(rounds):
        for mine, given in zip(sent, gradients):
            for array, value in zip(mine, given):
                array[...] = value
        stats = [np.array([rank + 2.0**-20], np.float32) for rank in range(size)]
        in_threads(size, lambda rank, stats: group[rank].all_reduce([*sent[rank], stats[rank]], 1 / size, 2), stats)
        for arrays in sent:
            for array, reference in zip(arrays, sent[0]):
                np.testing.assert_array_equal(array, reference)  # bit-equal on every rank
        assert all(one == stats[0] for one in stats)
        np.testing.assert_allclose(stats[0], np.mean(range(size)) + 2.0**-20, rtol=1e-7)  # which is not compressed
        first = first or [array.copy() for array in sent[0]]
        totals = [total + array for total, array in zip(totals, sent[0])]
    for total, wanted, once in zip(totals, exact, first):
        error, error_once = np.abs(total / rounds - wanted).max(), np.abs(once - wanted).max()
        largest = np.abs(wanted).max()
        assert 0 < error_once < 2.0**-6 * size * largest
        assert error < 3 * 2.0**-6 * size * largest / rounds
        assert (through(np.ascontiguousarray(once).reshape(-1)) == once.reshape(-1)).all()  # what everybody gets
    for comm in group:
        comm.close()


def replayed(parts, hosts, left, scale):
    """Straight from Communicator.all_reduce's docstring; ``left`` of each host is what rounding left, and changed."""
    names = sorted(set(hosts))
    sums = []
    for name in names:
        mine = [part for part, host in zip(parts, hosts) if host == name]
        value = mine[0]
        for part in mine[1:]:
            value = value + part
        sums.append(value)
    n, result = len(parts[0]), np.empty_like(parts[0])
    for k in range(len(names)):
        part = slice(n * k // len(names), n * (k + 1) // len(names))
        total = sums[k][part] + left[k][part]
        for step in range(1, len(names)):
            other = (k + step) % len(names)
            given = sums[other][part] + left[other][part]
            left[other][part] = given - rounded(given)
            total = total + rounded(given)
        total = total * np.float32(scale)
        result[part] = rounded(total)
        left[k][part] = (total - rounded(total)) / np.float32(scale)
    return result


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_computed_is_what_is_documented(layout):
    hosts = LAYOUTS[layout]
    size = len(hosts)
    group = compressing(hosts, shared="2" in layout)
    shapes = [(300, 1000), (7,), (400_001,)]
    left = np.zeros((len(set(hosts)), 700_008), np.float32)
    arrays = [arrays_of(rank, shapes, np.float32) for rank in range(size)]
    in_threads(size, lambda rank: group[rank].share(arrays[rank][:2]))
    for number in range(3):
        parts = [np.concatenate([array.reshape(-1) for array in mine]) for mine in arrays]
        expected = replayed(parts, hosts, left, 1 / size)
        in_threads(size, lambda rank: group[rank].all_reduce(arrays[rank], 1 / size, len(shapes)))
        for rank, mine in enumerate(arrays):
            np.testing.assert_array_equal(np.concatenate([array.reshape(-1) for array in mine]), expected)
            for array in mine:
                array *= 1 + rank / 7 + number
    for comm in group:
        comm.close()


def test_of_nine_hosts_what_is_not_compressed_is_added_round_the_ring():
    """Though every two of them are connected: the order of the additions is a function of sizes and hosts alone."""
    hosts = LAYOUTS["9 of 1"]
    group, local = compressing(hosts, shared=False), local_group(9, hosts)
    parts = [arrays_of(rank, [(300,)], np.float32) for rank in range(9)]
    reference = [[array.copy() for array in arrays] for arrays in parts]
    for comms, arrays in ((group, parts), (local, reference)):
        in_threads(9, lambda rank, comms, arrays: comms[rank].all_reduce(arrays[rank]), comms, arrays)
    for (array,), (wanted,) in zip(parts, reference):
        np.testing.assert_array_equal(array, wanted)
    for comm in group:
        comm.close()


def test_half_as_many_bytes_go_between_hosts(monkeypatch):
    hosts, count = [A, B], 1 << 20
    sent = []
    group = compressing(hosts, shared=False)
    for comm in group:
        for link in comm._links.values():
            push = link.push

            def counted(push=push):
                sent.append(push())
                return sent[-1]

            link.push = counted
    found = []
    for compressed in (0, 1):
        arrays = [np.ones(count, np.float32) for _ in hosts]
        sent.clear()
        in_threads(2, lambda rank, of, k: group[rank].all_reduce([of[rank]], None, k), arrays, compressed)
        found.append(sum(sent))
        assert all((array == 2).all() for array in arrays)
    assert 0.49 < found[1] / found[0] < 0.51
    for comm in group:
        comm.close()


def test_nothing_is_rounded_on_one_machine_or_in_float64():
    for group, dtype in ((shared_group(2), np.float32), (compressing([A, B], shared=False), np.float64)):
        arrays = [np.full(100_000, 1 + 2.0**-20, dtype) for _ in range(2)]
        in_threads(2, lambda rank, group, arrays: group[rank].all_reduce([arrays[rank]], None, 1), group, arrays)
        assert all((array == 2 + 2.0**-19).all() for array in arrays)
        for comm in group:
            comm.close()
