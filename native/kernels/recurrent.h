// Verbs with a memory of earlier rows: the short convolution, and the gated delta rule on float32 states.
//
// Gated delta, for each row in order and one value head: S *= decay; c = beta (v - S^T k); S += k c^T; o = S^T q.
// Layout: a head's S [K, V] lies as [V / 16][K][16], so that sixteen columns are one vector and one stretch of columns
// is
//   one stretch of memory. Columns never meet: any stretch can be computed by itself.
// Fused: the sums S^T k of a row are formed as the row before stores its S, so a row reads and writes S once.
// Reduction order: every sum over K runs in order, one chain for each column; decay multiplies S^T k after the sum.
//   Nothing depends on the rows beside one, on the stretch or on the thread.
// Rows that are certain change S in place; guesses read it and go on in scratch.
// Source: Yang et al. 2024 (arXiv:2412.06464).
#pragma once

#include "kernels/kernels.h"
#include "kernels/rows.h"

namespace outpace {
namespace {

// Vectors of columns that go through the rows together: their sums stay in registers.
#if defined(__AVX512F__)
constexpr int kDeltaVectors = 4;
#elif defined(__AVX2__)
constexpr int kDeltaVectors = 2;
#else
constexpr int kDeltaVectors = 1;
#endif

constexpr int kRowsAhead = 2;

// y = sum_j weight[j] * rows[j], optionally silu(y): one row of the convolution, for n channels.
void conv(const float* const* rows, const float* weight, size_t weight_stride, int length, int n, bool with_silu,
          float* out) {
    map_row(rows[0], n, out, [&](int i, f32x16 first) {
        f32x16 total = mul(first, load_part(weight + i, n - i));
        for (int j = 1; j < length; ++j)
            total = fma(load_part(rows[j] + i, n - i), load_part(weight + j * weight_stride + i, n - i), total);
        return with_silu ? silu16(total) : total;
    });
}

OUTPACE_INLINE void store_part(float* p, f32x16 x, int n) {
    if (n >= 16) {
        store(p, x);
        return;
    }
    float lanes[16];
    store(lanes, x);
    std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
}

// One row's change of N vectors of columns, from `in` to `out`; with it S^T q and the S^T k of the next row.
template <int N, bool kReads, bool kHasNext>
OUTPACE_INLINE void delta_row(const float* in, float* out, int key_dim, size_t stride, float decay,
                              const f32x16 (&change)[N], const float* k, const float* q, const float* next,
                              f32x16 (&found)[N], f32x16 (&recalled)[N]) {
    for (int n = 0; n < N; ++n) found[n] = recalled[n] = zero();
    const f32x16 keep = set1(decay);
    for (int i = 0; i < key_dim; ++i, in += stride, out += stride) {
        const f32x16 key = set1(k[i]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
            const f32x16 s = fma(key, change[n], mul(keep, load(in + 16 * n)));
            store(out + 16 * n, s);
            if constexpr (kReads) found[n] = fma(set1(q[i]), s, found[n]);
            if constexpr (kHasNext) recalled[n] = fma(set1(next[i]), s, recalled[n]);
        }
    }
}

// Rows lie far apart, which no prefetcher guesses: this asks for one a little ahead.
OUTPACE_INLINE void prefetch_row(const DeltaRows& rows, size_t i, int key_dim, int column, int columns) {
    for (int at = 0; at < key_dim; at += 16) {
        __builtin_prefetch(rows.k + i * rows.k_stride + at);
        if (rows.q) __builtin_prefetch(rows.q + i * rows.q_stride + at);
    }
    for (int at = 0; at < columns; at += 16) __builtin_prefetch(rows.v + i * rows.v_stride + column + at);
    __builtin_prefetch(rows.decay + i * rows.decay_stride);
    __builtin_prefetch(rows.beta + i * rows.beta_stride);
}

template <int N>
void delta_columns(const DeltaArgs& a, int first) {
    const int n_pending = a.pending.n, n_rows = n_pending + a.rows.n, column = first * 16;
    const size_t stride = static_cast<size_t>((a.columns + 15) / 16 * 16);
    float *memory = a.memory + column, *scratch = a.scratch + column;
    const auto key = [&](int row) {
        return row < n_pending ? a.pending.k + static_cast<size_t>(row) * a.pending.k_stride
                               : a.rows.k + static_cast<size_t>(row - n_pending) * a.rows.k_stride;
    };
    f32x16 recalled[N], found[N];
    for (int n = 0; n < N; ++n) recalled[n] = zero();
    const float* k = key(0);
    for (int i = 0; i < a.key_dim; ++i)
        for (int n = 0; n < N; ++n)
            recalled[n] = fma(set1(k[i]), load(memory + static_cast<size_t>(i) * stride + 16 * n), recalled[n]);
    const float* in = memory;
    for (int row = 0; row < n_rows; ++row) {
        const DeltaRows& rows = row < n_pending ? a.pending : a.rows;
        const size_t i = static_cast<size_t>(row < n_pending ? row : row - n_pending);
        float* out = row < n_pending + a.n_known ? memory : scratch;
        const float* v = rows.v + i * rows.v_stride + column;
        const float* q = rows.q ? rows.q + i * rows.q_stride : nullptr;
        const float decay = rows.decay[i * rows.decay_stride], beta = rows.beta[i * rows.beta_stride];
        if (static_cast<int>(i) + kRowsAhead < rows.n) prefetch_row(rows, i + kRowsAhead, a.key_dim, column, 16 * N);
        f32x16 change[N];
        for (int n = 0; n < N; ++n)
            change[n] =
                mul(set1(beta), sub(load_part(v + 16 * n, a.columns - column - 16 * n), mul(set1(decay), recalled[n])));
        k = key(row);
        const float* next = row + 1 < n_rows ? key(row + 1) : nullptr;
        if (q && next)
            delta_row<N, true, true>(in, out, a.key_dim, stride, decay, change, k, q, next, found, recalled);
        else if (q)
            delta_row<N, true, false>(in, out, a.key_dim, stride, decay, change, k, q, next, found, recalled);
        else if (next)
            delta_row<N, false, true>(in, out, a.key_dim, stride, decay, change, k, q, next, found, recalled);
        else
            delta_row<N, false, false>(in, out, a.key_dim, stride, decay, change, k, q, next, found, recalled);
        if (q)
            for (int n = 0; n < N; ++n)
                store_part(rows.out + i * rows.out_stride + column + 16 * n, found[n], a.columns - column - 16 * n);
        in = out;
    }
}

void gated_delta(const DeltaArgs& a) {
    if (a.pending.n + a.rows.n == 0) return;
    const int n_vectors = (a.columns + 15) / 16;
    int first = 0;
    for (; first + kDeltaVectors <= n_vectors; first += kDeltaVectors) delta_columns<kDeltaVectors>(a, first);
    for (; first < n_vectors; ++first) delta_columns<1>(a, first);
}

}  // namespace
}  // namespace outpace
