// y[t, r] = sum_k w[r, k] x[t, k]: one kernel family for decode, verify and prefill.
//
// Shapes: w [n_rows, n_cols] packed in tiles of 16 rows (formats.h), x [T, n_cols] as int8 with a scale for each 32
// values (or float for F32, F16, BF16), y [T, out_stride] float32.
// Fused: bias, residual sum.
// Reduction order: for each element, blocks of 32 along k in order; inside a block the integer sum is exact, then
//   y += float(sum) * (d_w * d_x), and for types with a minimum y += m * (d_x * sum(q_x)). For float weights two
//   partial sums (even and odd k) are added at the end. Nothing depends on T, on the tile or on the thread, so one row
//   alone and the same row among others get the same bits; every operation is exactly rounded, so all tiers agree.
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

// Adds one sub-block of 32 values to the sums of T rows.
template <class F, int T, int P>
OUTPACE_INLINE void sub_block(const uint8_t* block, int pair, Factors f, const int8_t* q, size_t q_stride,
                              const BlockScale* s, size_t s_stride, f32x16 (&y)[T]) {
    i32x16 low[T], high[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
        const BlockScale& scale = s[t * s_stride];
        if constexpr (F::kHalves) {
            low[t] = shl<F::kOffsetShift>(set1_i32(scale.n8a));
            high[t] = shl<F::kOffsetShift>(sub(set1_i32(scale.n8), set1_i32(scale.n8a)));
        } else if constexpr (F::kOffsetShift >= 0) {
            low[t] = shl<F::kOffsetShift>(set1_i32(scale.n8));
        } else {
            low[t] = set1_i32(0);
        }
    }
    unroll<8>([&](auto quad_index) {
        constexpr int I = decltype(quad_index)::value;
        const u8x64 w = F::template quad<P, I>(block, pair);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            i32x16& sum = F::kHalves && I >= 4 ? high[t] : low[t];
            sum = dot4<F::kWide>(sum, w, q + t * q_stride + 4 * I);
        }
    });
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
        const f32x16 d = set1(s[t * s_stride].d);
        y[t] = fma(to_f32(low[t]), mul(f.d, d), y[t]);
        if constexpr (F::kHalves) y[t] = fma(to_f32(high[t]), mul(f.m, d), y[t]);
        if constexpr (F::kMin) y[t] = fma(f.m, set1(s[t * s_stride].ds), y[t]);
    }
}

template <class F, int T>
void quantised_rows(const LinearArgs& a, const uint8_t* block, int tile, int t0) {
    f32x16 y[T];
    for (int t = 0; t < T; ++t) y[t] = zero();
    const size_t q_stride = a.act.row_stride, s_stride = a.act.row_stride / kBlock;
    const int8_t* q = a.act.q + t0 * q_stride;
    const BlockScale* s = a.act.s + t0 * s_stride;
    for (int k = 0; k < a.n_cols; k += F::kValues, block += F::kBytes) {
        const auto prepared = F::prepare(block);
        for (int pair = 0; pair < (F::kSubs + 1) / 2; ++pair) {
            unroll<F::kSubs == 1 ? 1 : 2>([&](auto parity) {
                constexpr int P = decltype(parity)::value;
                // A share with each sub-block: a burst would hold the line buffers that loads wait for.
                constexpr size_t share = F::kBytes / F::kSubs;
                if (t0 == 0) prefetch(block + kPrefetchBytes + (2 * pair + P) * share, share);
                sub_block<F, T, P>(block, pair, F::factors(block, prepared, 2 * pair + P), q, q_stride, s, s_stride, y);
                q += kBlock;
                s += 1;
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
