// y[t, r] = sum_k w[r, k] x[t, k]: one kernel family for decode, verify and prefill.
//
// Shapes: w [n_rows, n_cols] packed in tiles of 16 rows (formats.h), x [T, n_cols] as codes of 8 bits, in some blocks
// 16, with a scale for each 32 values (or float for F32, F16, BF16), y [T, out_stride] float32. Fused: bias, residual
// sum. Reduction order: for each element, blocks of 32 along k in order; inside a block the integer sum is exact, then
//   y += float(sum) * (d_w * d_x), and for types with a minimum y += m * (d_x * sum(q_x)); where the halves of a block
//   have scales of their own, y += (float(sum_1) * d_1 + float(sum_2) * d_2) * d_x. Where a row's codes have lower
//   halves, its sum is in units of 1/256. For float weights two partial sums (even and odd k) are added at the end.
// Nothing depends on T, on the tile or on the thread, so one row alone and the same row among others get the same bits;
// every operation is exactly rounded, so all tiers agree.
// Unpacking is shared by up to kWidth rows of x, whose sums stay in registers.
#pragma once

#include "kernels/formats.h"

namespace outpace {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 8;
#elif defined(__AVX2__)
constexpr int kWidth = 4;
#else
constexpr int kWidth = 2;
#endif
constexpr int kPrefetchBytes = 4096;
constexpr int kFewRows = 3;  // one row in so many is done by itself

OUTPACE_INLINE void prefetch(const uint8_t* p, size_t n) {
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i, 0, 2);
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

// Start of the integer sums: what the offset of unsigned weights takes back.
template <class F>
OUTPACE_INLINE void start(const Offsets& offsets, i32x16& low, i32x16& high) {
    if constexpr (F::kHalves) {
        static_assert(8 << F::kOffsetShift == 32);
        low = set1_i32(offsets.first);
        high = set1_i32(offsets.rest);
    } else if constexpr (F::kOffsetShift >= 0) {
        low = shl<F::kOffsetShift>(set1_i32(offsets.all));
    } else {
        low = set1_i32(0);
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

// Adds the products of one sub-block with a plane of codes to the integer sums of T rows.
template <class F, int T, int P>
OUTPACE_INLINE void dot_block(const uint8_t* block, int pair, const RowPointers<T>& q, i32x16 (&low)[T],
                              i32x16 (&high)[T]) {
    unroll<8>([&](auto quad_index) OUTPACE_ALWAYS {
        constexpr int I = decltype(quad_index)::value;
        const u8x64 w = F::template quad<P, I>(block, pair);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            i32x16& sum = F::kHalves && I >= 4 ? high[t] : low[t];
            sum = dot4<F::kWide>(sum, w, reinterpret_cast<const int8_t*>(q[t]) + 4 * I);
        }
    });
}

// Adds one sub-block's integer sums, times its scales, to the sums of T rows.
template <class F, int T>
OUTPACE_INLINE void add_block(const Factors& f, const RowPointers<T>& s, const i32x16 (&low)[T],
                              const i32x16 (&high)[T], f32x16 (&y)[T]) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
        const auto& scale = at<BlockScale>(s, t);
        if constexpr (F::kHalves) {
            const f32x16 halves = fma(to_f32(high[t]), f.m, mul(to_f32(low[t]), f.d));
            y[t] = fma(halves, set1(scale.d), y[t]);
        } else {
            y[t] = fma(to_f32(low[t]), mul(f.d, set1(scale.d)), y[t]);
            if constexpr (F::kMin) y[t] = fma(f.m, set1(scale.ds), y[t]);
        }
    }
}

// Adds one sub-block of 32 values to the sums of T rows.
template <class F, int T, int P>
OUTPACE_INLINE void sub_block(const uint8_t* block, int pair, const Factors& f, const RowPointers<T>& q,
                              const RowPointers<T>& s, f32x16 (&y)[T]) {
    i32x16 low[T], high[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) start<F>(at<BlockScale>(s, t).q, low[t], high[t]);
    dot_block<F, T, P>(block, pair, q, low, high);
    add_block<F, T>(f, s, low, high, y);
}

// The same where some rows' codes have lower halves: sums in units of 1/256. Rare, and kept out of the common case's
// registers. Values far above their neighbours mostly stand in the same block of every row, whose lower halves then
// share the unpacking; a row or two of many are done by themselves, and the others keep their units: of those the sum
// is exact in either.
template <class F, int T, int P>
__attribute__((noinline)) void sub_block_with_low(const uint8_t* block, int pair, const Factors& f,
                                                  const Activations& x, const uint8_t* has_low, f32x16 (&y)[T]) {
    const size_t n_blocks = x.row_stride / kBlock;
    const RowPointers<T> s(x.s, n_blocks * sizeof(BlockScale));
    i32x16 low[T], high[T];
    for (int t = 0; t < T; ++t) start<F>(at<BlockScale>(s, t).q, low[t], high[t]);
    dot_block<F, T, P>(block, pair, RowPointers<T>(x.q, x.row_stride), low, high);
    const f32x16 part = set1(1.0f / 256.0f);
    const Factors fine = {mul(f.d, part), F::kHalves ? mul(f.m, part) : f.m};
    const auto in_parts = [&](int t, i32x16& row_low, i32x16& row_high) OUTPACE_ALWAYS {
        i32x16 more_low, more_high;
        start<F>(x.low_offsets[t * n_blocks], more_low, more_high);
        row_low = add(shl<8>(row_low), more_low);
        if constexpr (F::kHalves) row_high = add(shl<8>(row_high), more_high);
    };
    int n_with_low = 0;
    for (int t = 0; t < T; ++t) n_with_low += has_low[t];
    if (n_with_low * kFewRows >= T) {
        for (int t = 0; t < T; ++t) in_parts(t, low[t], high[t]);
        dot_block<F, T, P>(block, pair, RowPointers<T>(x.low, x.row_stride), low, high);
        add_block<F, T>(fine, s, low, high, y);
        return;
    }
#pragma GCC unroll 1
    for (int t = 0; t < T; ++t) {
        i32x16 row_low[1] = {low[t]}, row_high[1] = {high[t]};
        f32x16 sum[1] = {y[t]};
        if (has_low[t]) {
            in_parts(t, row_low[0], row_high[0]);
            dot_block<F, 1, P>(block, pair, RowPointers<1>(x.low + t * x.row_stride, 0), row_low, row_high);
        }
        add_block<F, 1>(has_low[t] ? fine : f, RowPointers<1>(x.s + t * n_blocks, 0), row_low, row_high, sum);
        y[t] = sum[0];
    }
}

// The activations from row t and block b on.
OUTPACE_INLINE Activations from(const Activations& x, size_t t, size_t b) {
    const size_t n_blocks = x.row_stride / kBlock, block = t * n_blocks + b;
    const size_t group = t / kGroupRows * kGroupRows * n_blocks + b * kGroupRows;
    return {x.q + block * kBlock, x.low + block * kBlock, x.s + block, x.low_offsets + block, x.has_low + group, x.x,
            x.row_stride};
}

template <class F, int T>
void quantised_rows(const LinearArgs& a, const uint8_t* block, int tile, int t0) {
    f32x16 y[T];
    for (int t = 0; t < T; ++t) y[t] = zero();
    const Activations x = from(a.act, static_cast<size_t>(t0), 0);
    RowPointers<T> q(x.q, x.row_stride), s(x.s, x.row_stride / kBlock * sizeof(BlockScale));
    const int n_blocks = a.n_cols / kBlock;
    for (int b = 0; b < n_blocks; block += F::kBytes) {
        const auto prepared = F::prepare(block);
        for (int pair = 0; pair < (F::kSubs + 1) / 2; ++pair) {
            unroll<F::kSubs == 1 ? 1 : 2>([&](auto parity) OUTPACE_ALWAYS {
                constexpr int P = decltype(parity)::value;
                // A share with each sub-block: a burst would hold the line buffers that loads wait for.
                constexpr size_t share = F::kBytes / F::kSubs;
                if (t0 == 0) prefetch(block + kPrefetchBytes + (2 * pair + P) * share, share);
                const Factors f = F::factors(block, prepared, 2 * pair + P);
                // Of a whole group of rows, these among them: one more costs time only, and no bit.
                const uint8_t* has_low = x.has_low + b * kGroupRows;
                uint64_t rows_with_low;
                std::memcpy(&rows_with_low, has_low, sizeof rows_with_low);
                if (__builtin_expect(rows_with_low != 0, 0)) {
                    f32x16 z[T];
                    for (int t = 0; t < T; ++t) z[t] = y[t];
                    sub_block_with_low<F, T, P>(block, pair, f, from(x, 0, static_cast<size_t>(b)),
                                                has_low + t0 % kGroupRows, z);
                    for (int t = 0; t < T; ++t) y[t] = z[t];
                } else {
                    sub_block<F, T, P>(block, pair, f, q, s, y);
                }
                q.advance(kBlock);
                s.advance(sizeof(BlockScale));
                ++b;
            });
        }
    }
    store_rows<T>(a, y, t0, tile);
}

template <class F, int T>
void plain_rows(const LinearArgs& a, const uint8_t* p, int tile, int t0) {
    f32x16 even[T], odd[T];
    for (int t = 0; t < T; ++t) even[t] = odd[t] = zero();
    const float* x = a.act.x + t0 * a.act.row_stride;
    constexpr size_t bytes = F::kValueBytes * kTileRows;
    int k = 0;
    for (; k + 1 < a.n_cols; k += 2, p += 2 * bytes) {
        if (t0 == 0) __builtin_prefetch(p + kPrefetchBytes, 0, 2);
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

// Runs rows(t0) for all T rows in groups of at most kWidth; Rows<N>::run is the kernel for a group of N.
template <template <int> class Rows>
OUTPACE_INLINE void in_groups(const LinearArgs& a, const uint8_t* p, int tile) {
    int t0 = 0;
    for (; t0 + kWidth <= a.T; t0 += kWidth) Rows<kWidth>::run(a, p, tile, t0);
    unroll<kWidth>([&](auto n) {
        constexpr int N = decltype(n)::value;
        if constexpr (N > 0)
            if (a.T - t0 == N) Rows<N>::run(a, p, tile, t0);
    });
}

template <class F>
struct QuantisedRows {
    template <int T>
    struct Rows {
        static OUTPACE_INLINE void run(const LinearArgs& a, const uint8_t* p, int tile, int t0) {
            quantised_rows<F, T>(a, p, tile, t0);
        }
    };
};

template <class F>
struct PlainRows {
    template <int T>
    struct Rows {
        static OUTPACE_INLINE void run(const LinearArgs& a, const uint8_t* p, int tile, int t0) {
            plain_rows<F, T>(a, p, tile, t0);
        }
    };
};

void linear(int type, const LinearArgs& a, int tile_begin, int tile_end) {
    for (int tile = tile_begin; tile < tile_end; ++tile) {
        const uint8_t* p = a.tiles + tile * a.tile_bytes;
        with_format(
            type, [&](auto f) { in_groups<QuantisedRows<decltype(f)>::template Rows>(a, p, tile); },
            [&](auto f) { in_groups<PlainRows<decltype(f)>::template Rows>(a, p, tile); }, [] {});
    }
}

}  // namespace
}  // namespace outpace
