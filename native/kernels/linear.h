// y[t, r] = sum_k w[r, k] x[t, k]: one kernel family for decode, verify and prefill.
//
// Shapes: w [n_rows, n_cols] packed in tiles of 16 rows (formats.h), x [T, n_cols] as codes of 8 bits, in some blocks
// 16, with a scale for each 32 values (or float for F32, F16, BF16), y [T, out_stride] float32. Fused: bias, residual
// sum. Reduction order: for each element, blocks of 32 along k in order; inside a block the integer sum is exact, then
//   y += (float(sum) * d_w) * d_x, and for types with a minimum y += m * (d_x * sum(q_x)); where the halves of a block
//   have scales of their own, first the one, then the other. Where a row's codes have lower halves, its sum is in units
//   of 1/256. For float weights two partial sums (even and odd k) are added at the end.
// Nothing depends on T, on the tile or on the thread, so one row alone and the same row among others get the same bits;
// every operation is exactly rounded, so all tiers agree.
#pragma once

#include "kernels/formats.h"

namespace outpace {
namespace {

// An unpacked tile serves up to kWidth rows of x, and a row of x that is read serves kTiles tiles at once: with many
// rows that saves unpacking and reading. Up to kFewRows rows wait for the weights instead, which memory gives sooner
// when they are asked for in several places: kFewTiles tiles at once.
#if defined(__AVX512F__)
constexpr int kWidth = 8, kTiles = 2, kFewRows = 4, kFewTiles = 4;
#elif defined(__AVX2__)
constexpr int kWidth = 4, kTiles = 1, kFewRows = 1, kFewTiles = 4;
#else
constexpr int kWidth = 2, kTiles = 1, kFewRows = 1, kFewTiles = 1;
#endif
// Into the first cache: what waits in the second one costs a step of four rows 2 to 5%.
constexpr int kPrefetchBytes = 2048;
// Of rows that are computed together, those whose codes have lower halves are done by themselves if they are fewer than
// one in so many.
constexpr int kLowShare = 3;

OUTPACE_INLINE void prefetch(const uint8_t* p, size_t n) {
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i, 0, 3);
}

// Epilogue shared by all types: bias, residual, store.
template <int T>
OUTPACE_INLINE void store_rows(const LinearArgs& a, const f32x16 (&y)[T], int t0, int tile) {
    for (int t = 0; t < T; ++t) {
        const size_t at = (t0 + t) * a.out_stride + static_cast<size_t>(tile) * kTileRows;
        f32x16 v = y[t];
        if (a.bias) v = add(v, load(a.bias + tile * kTileRows));
        if (a.residual) v = add(load(a.residual + at), v);
        store(a.out + at, v);
    }
}

// Where the integer sums of a row's run of codes start: what the offset of unsigned weights takes back, or `none` where
// they have no offset.
template <class F, int R>
OUTPACE_INLINE i32x16 start(const Offsets& offsets, int32_t none) {
    constexpr int k = F::kOffsetShift;
    if constexpr (F::kRuns == 2) {
        static_assert(8 << k == 32);
        return set1_i32(R == 0 ? offsets.first : offsets.rest);
    } else if constexpr (k >= 0) {
        static_assert(k == 0 || k == 1 || k == 4);
        return set1_i32(offsets.all[k == 4 ? 2 : k]);
    } else {
        return set1_i32(none);
    }
}

// Pointers to the same place in T rows, `stride` bytes apart. Three rows share a register, so that every load is one
// addressing mode and nothing spills; compilers do not find that by themselves and are kept from undoing it.
template <int T>
struct RowPointers {
    static constexpr int kBases = (T + 2) / 3;
    const char* base[kBases];
    size_t stride;

    OUTPACE_INLINE RowPointers(const void* first, size_t row_bytes) : stride(row_bytes) {
        for (int i = 0; i < kBases; ++i) base[i] = static_cast<const char*>(first) + 3 * i * row_bytes;
    }
    OUTPACE_INLINE const char* operator[](int t) const { return base[t / 3] + t % 3 * stride; }
    OUTPACE_INLINE void advance(size_t n) {
#pragma GCC unroll 3
        for (int i = 0; i < kBases; ++i) {
            base[i] += n;
            asm("" : "+r"(base[i]));
        }
    }
};

template <class X, int T>
OUTPACE_INLINE const X& at(const RowPointers<T>& rows, int t) {
    return *reinterpret_cast<const X*>(rows[t]);
}

template <class F, int P, int I>
OUTPACE_INLINE u8x64 operand(const uint8_t* block, int pair) {
    if constexpr (F::kRaised && P == 1)
        return F::template raised_quad<I>(block, pair);
    else
        return F::template quad<P, I>(block, pair);
}

template <class F, int P>
OUTPACE_INLINE Factors factors(const uint8_t* block, const typename F::Prepared& prepared, int pair) {
    if constexpr (F::kRaised && P == 1)
        return F::raised_factors(prepared, 2 * pair + P);
    else
        return F::factors(block, prepared, 2 * pair + P);
}

// Adds the products of run R of one sub-block with a plane of codes to the integer sums of T rows, for N tiles.
template <class F, int R, int T, int P, int N>
OUTPACE_INLINE void dot_run(const uint8_t* const (&blocks)[N], int pair, const RowPointers<T>& q,
                            i32x16 (&sums)[N][T]) {
    constexpr int n = 8 / F::kRuns;
    unroll<n>([&](auto quad_index) OUTPACE_ALWAYS {
        constexpr int I = R * n + decltype(quad_index)::value;
        u8x64 w[N];
        for (int i = 0; i < N; ++i) w[i] = operand<F, P, I>(blocks[i], pair);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            const i8x4 x = load_i8x4(reinterpret_cast<const int8_t*>(q[t]) + 4 * I);
            for (int i = 0; i < N; ++i) sums[i][t] = dot4<F::kWide>(sums[i][t], w[i], x);
        }
    });
}

// Adds one run's integer sums, times its scales, to the sums of T rows. Sums that are on top of kFloatBits are floats
// as they stand: the scale times what a sum began with is exact, so what is taken off by it costs no rounding.
template <class F, int R, bool IsFloat, int T>
OUTPACE_INLINE void add_run(const Factors& f, const RowPointers<T>& s, const i32x16 (&sums)[T], f32x16 (&y)[T]) {
    const f32x16 d = R == 0 ? f.d : f.m, begun = mul(d, set1(-kFloatStart));
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
        const auto& scale = at<BlockScale>(s, t);
        const f32x16 sum = IsFloat ? fma(bits_to_f32(sums[t]), d, begun) : mul(to_f32(sums[t]), d);
        y[t] = fma(sum, set1(scale.d), y[t]);
        if constexpr (F::kMin) y[t] = fma(f.m, set1(scale.ds), y[t]);
    }
}

// Adds one sub-block of 32 values to the sums of T rows, for N tiles.
template <class F, int T, int P, int N>
OUTPACE_INLINE void sub_block(const uint8_t* const (&blocks)[N], int pair, const Factors (&f)[N],
                              const RowPointers<T>& q, const RowPointers<T>& s, f32x16 (&y)[N][T]) {
    unroll<F::kRuns>([&](auto run) OUTPACE_ALWAYS {
        constexpr int R = decltype(run)::value;
        i32x16 sums[N][T];
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            const i32x16 first = start<F, R>(at<BlockScale>(s, t).q, kFloatBits);
            for (int i = 0; i < N; ++i) sums[i][t] = first;
        }
        dot_run<F, R, T, P>(blocks, pair, q, sums);
        for (int i = 0; i < N; ++i) add_run<F, R, true>(f[i], s, sums[i], y[i]);
    });
}

// The same where some rows' codes have lower halves: sums in units of 1/256. Rare, and kept out of the common case's
// registers. Values far above their neighbours mostly stand in the same block of every row, whose lower halves then
// share the unpacking; a row or two of many are done by themselves, and the others keep their units: of those the sum
// is exact in either.
template <class F, int T, int P, int N>
__attribute__((noinline)) void sub_block_with_low(const uint8_t* const (&blocks)[N], int pair, const Factors (&f)[N],
                                                  const Activations& x, const uint8_t* has_low, f32x16 (&y)[N][T]) {
    const size_t n_blocks = x.row_stride / kBlock;
    const RowPointers<T> s(x.s, n_blocks * sizeof(BlockScale));
    const f32x16 part = set1(1.0f / 256.0f);
    Factors fine[N];
    for (int i = 0; i < N; ++i) fine[i] = {mul(f[i].d, part), F::kRuns == 2 ? mul(f[i].m, part) : f[i].m};
    int n_with_low = 0;
    for (int t = 0; t < T; ++t) n_with_low += has_low[t];
    unroll<F::kRuns>([&](auto run) OUTPACE_ALWAYS {
        constexpr int R = decltype(run)::value;
        i32x16 sums[N][T];
        for (int t = 0; t < T; ++t)
            for (int i = 0; i < N; ++i) sums[i][t] = start<F, R>(at<BlockScale>(s, t).q, kFloatBits);
        dot_run<F, R, T, P>(blocks, pair, RowPointers<T>(x.q, x.row_stride), sums);
        const auto in_parts = [&](int i, int t) OUTPACE_ALWAYS {
            return add(shl<8>(sub(sums[i][t], set1_i32(kFloatBits))), start<F, R>(x.low_offsets[t * n_blocks], 0));
        };
        if (n_with_low * kLowShare >= T) {
            for (int i = 0; i < N; ++i)
                for (int t = 0; t < T; ++t) sums[i][t] = in_parts(i, t);
            dot_run<F, R, T, P>(blocks, pair, RowPointers<T>(x.low, x.row_stride), sums);
            for (int i = 0; i < N; ++i) add_run<F, R, false>(fine[i], s, sums[i], y[i]);
            return;
        }
#pragma GCC unroll 1
        for (int t = 0; t < T; ++t) {
            i32x16 row[N][1];
            f32x16 sum[N][1];
            const RowPointers<1> scale(x.s + t * n_blocks, 0);
            for (int i = 0; i < N; ++i) {
                row[i][0] = has_low[t] ? in_parts(i, t) : sums[i][t];
                sum[i][0] = y[i][t];
            }
            if (has_low[t]) {
                dot_run<F, R, 1, P>(blocks, pair, RowPointers<1>(x.low + t * x.row_stride, 0), row);
                for (int i = 0; i < N; ++i) add_run<F, R, false>(fine[i], scale, row[i], sum[i]);
            } else {
                for (int i = 0; i < N; ++i) add_run<F, R, true>(f[i], scale, row[i], sum[i]);
            }
            for (int i = 0; i < N; ++i) y[i][t] = sum[i][0];
        }
    });
}

// The activations from row t and block b on.
OUTPACE_INLINE Activations from(const Activations& x, size_t t, size_t b) {
    const size_t n_blocks = x.row_stride / kBlock, block = t * n_blocks + b;
    const size_t group = t / kGroupRows * kGroupRows * n_blocks + b * kGroupRows;
    return {x.q + block * kBlock, x.low + block * kBlock, x.s + block, x.low_offsets + block, x.has_low + group, x.x,
            x.row_stride};
}

// T rows from t0 on against N tiles from `tile` on.
template <class F, int T, int N>
void quantised_rows(const LinearArgs& a, int tile, int t0) {
    const uint8_t* blocks[N];
    for (int i = 0; i < N; ++i) blocks[i] = a.tiles + (tile + i) * a.tile_bytes;
    f32x16 y[N][T];
    for (int i = 0; i < N; ++i)
        for (int t = 0; t < T; ++t) y[i][t] = zero();
    const Activations x = from(a.act, static_cast<size_t>(t0), 0);
    RowPointers<T> q(x.q, x.row_stride), s(x.s, x.row_stride / kBlock * sizeof(BlockScale));
    const int n_blocks = a.n_cols / kBlock;
    for (int b = 0; b < n_blocks;) {
        typename F::Prepared prepared[N];
        for (int i = 0; i < N; ++i) prepared[i] = F::prepare(blocks[i]);
        // What follows the end of a tile is another's that is read now; the next to be read are behind that.
        const size_t done = static_cast<size_t>(b) / F::kSubs * F::kBytes;
        const size_t ahead = kPrefetchBytes + (done + kPrefetchBytes < a.tile_bytes ? 0 : (N - 1) * a.tile_bytes);
        for (int pair = 0; pair < (F::kSubs + 1) / 2; ++pair) {
            unroll<F::kSubs == 1 ? 1 : 2>([&](auto parity) OUTPACE_ALWAYS {
                constexpr int P = decltype(parity)::value;
                // A share with each sub-block: a burst would hold the line buffers that loads wait for.
                constexpr size_t share = F::kBytes / F::kSubs;
                Factors f[N];
                for (int i = 0; i < N; ++i) {
                    if (t0 == 0) prefetch(blocks[i] + ahead + (2 * pair + P) * share, share);
                    f[i] = factors<F, P>(blocks[i], prepared[i], pair);
                }
                const uint8_t* has_low = x.has_low + b * kGroupRows + t0 % kGroupRows;
                uint64_t rows_with_low = 0;
                std::memcpy(&rows_with_low, has_low, T);
                if (__builtin_expect(rows_with_low != 0, 0)) {
                    f32x16 z[N][T];
                    std::memcpy(z, y, sizeof z);
                    sub_block_with_low<F, T, P>(blocks, pair, f, from(x, 0, static_cast<size_t>(b)), has_low, z);
                    std::memcpy(y, z, sizeof z);
                } else {
                    sub_block<F, T, P>(blocks, pair, f, q, s, y);
                }
                q.advance(kBlock);
                s.advance(sizeof(BlockScale));
                ++b;
            });
        }
        for (int i = 0; i < N; ++i) blocks[i] += F::kBytes;
    }
    for (int i = 0; i < N; ++i) store_rows<T>(a, y[i], t0, tile + i);
}

template <class F, int T>
void plain_rows(const LinearArgs& a, int tile, int t0) {
    const uint8_t* p = a.tiles + tile * a.tile_bytes;
    f32x16 even[T], odd[T];
    for (int t = 0; t < T; ++t) even[t] = odd[t] = zero();
    const float* x = a.act.x + t0 * a.act.row_stride;
    constexpr size_t bytes = F::kValueBytes * kTileRows;
    int k = 0;
    for (; k + 1 < a.n_cols; k += 2, p += 2 * bytes) {
        if (t0 == 0) __builtin_prefetch(p + kPrefetchBytes, 0, 3);
        const f32x16 w0 = F::column(p), w1 = F::column(p + bytes);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            even[t] = fma(w0, set1(x[t * a.act.row_stride + k]), even[t]);
            odd[t] = fma(w1, set1(x[t * a.act.row_stride + k + 1]), odd[t]);
        }
    }
    if (k < a.n_cols) {
        const f32x16 w = F::column(p);
        for (int t = 0; t < T; ++t) even[t] = fma(w, set1(x[t * a.act.row_stride + k]), even[t]);
    }
    for (int t = 0; t < T; ++t) even[t] = add(even[t], odd[t]);
    store_rows<T>(a, even, t0, tile);
}

// Runs Rows<T, N>::run(a, tile, t0) for all rows, in groups of at most Most, and for tiles as long as there are N;
// returns the tile after those.
template <template <int, int> class Rows, int Most, int N>
OUTPACE_INLINE int in_groups(const LinearArgs& a, int tile, int end) {
    for (; tile + N <= end; tile += N) {
        int t0 = 0;
        for (; t0 + Most <= a.T; t0 += Most) Rows<Most, N>::run(a, tile, t0);
        unroll<Most>([&](auto n) {
            constexpr int T = decltype(n)::value;
            if constexpr (T > 0)
                if (a.T - t0 == T) Rows<T, N>::run(a, tile, t0);
        });
    }
    return tile;
}

template <class F>
struct QuantisedRows {
    template <int T, int N>
    struct Rows {
        static OUTPACE_INLINE void run(const LinearArgs& a, int tile, int t0) { quantised_rows<F, T, N>(a, tile, t0); }
    };
};

template <class F>
struct PlainRows {
    template <int T, int N>
    struct Rows {
        static OUTPACE_INLINE void run(const LinearArgs& a, int tile, int t0) { plain_rows<F, T>(a, tile, t0); }
    };
};

// All rows against the tiles from `tile` on, several tiles at once as far as they go.
template <template <int, int> class Rows>
OUTPACE_INLINE void in_tiles(const LinearArgs& a, int tile, int end) {
    if (a.T <= kFewRows) tile = in_groups<Rows, kFewRows, kFewTiles>(a, tile, end);
    tile = in_groups<Rows, kWidth, kTiles>(a, tile, end);
    in_groups<Rows, kWidth, 1>(a, tile, end);
}

void linear(int type, const LinearArgs& a, int tile_begin, int tile_end) {
    with_format(
        type, [&](auto f) { in_tiles<QuantisedRows<decltype(f)>::template Rows>(a, tile_begin, tile_end); },
        [&](auto f) { in_groups<PlainRows<decltype(f)>::template Rows, kWidth, 1>(a, tile_begin, tile_end); }, [] {});
}

}  // namespace
}  // namespace outpace
