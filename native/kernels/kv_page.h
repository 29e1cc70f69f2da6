// Where one head's keys and values lie in a page of 64 positions, by type: how 16 of them are read, how one is put.
//
// Layout, head after head: keys, then values. Keys lie transposed, so that 16 positions are one vector.
//   f16:  K [head_dim][64], V [64][head_dim].
//   q8_0: K int8 [head_dim][64], its f16 scales [blocks][64], V int8 [64][head_dim], its f16 scales [64][blocks].
//   q4_0: K nibbles [head_dim / 2][64], a byte holds values 2i (low) and 2i + 1 of one position; its f16 scales
//         [blocks][64]; V nibbles [64][head_dim / 2], 8 bytes hold 16 values, the low nibbles the first eight; its f16
//         scales [64][blocks].
// blocks = head_dim / 32 rounded up. No two positions share a byte: threads write different ones at the same time.
// Values: q8_0 d * code, code = nearest of 127 x / max|x|; q4_0 d * (nibble - 8), where the value of largest magnitude
//   (the positive one of two) has nibble 0 and what is beyond 15 is 15. Codes are of d before it is rounded to f16.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace outpace {
namespace {

constexpr int kPage = 64;

OUTPACE_INLINE float half_to_float(uint16_t h) {
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#else
    return f16_to_f32(h);
#endif
}

OUTPACE_INLINE uint16_t float_to_half(float x) {
#if defined(__AVX2__)
    return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
#else
    return f32_to_f16(x);
#endif
}

OUTPACE_INLINE void fetch_line(const void* p) { __builtin_prefetch(p, 0, 2); }

struct F16Page {
    const uint16_t *k, *v;
    int head_dim;

    F16Page(const KVLayer& kv, const uint8_t* page, int head) : head_dim(kv.head_dim) {
        k = reinterpret_cast<const uint16_t*>(page) + static_cast<size_t>(head) * 2 * head_dim * kPage;
        v = k + static_cast<size_t>(head_dim) * kPage;
    }

    // q . k for V times 16 positions from `at`, N queries that lie as [head_dim][N]. Along the way it fetches as many
    // lines of what is read next: this page's values, and the keys of the page after it.
    template <int N, int V>
    OUTPACE_INLINE void scores(const float* q, int at, const F16Page& next, f32x16 (&s)[V][N]) const {
        for (int j = 0; j < V; ++j)
            for (int n = 0; n < N; ++n) s[j][n] = zero();
        for (int i = 0; i < head_dim; ++i) {
            for (int line = at; line < at + 16 * V; line += kPage / 2) {
                fetch_line(v + i * kPage + line);
                fetch_line(next.k + i * kPage + line);
            }
            for (int j = 0; j < V; ++j) {
                const f32x16 key = load_f16(k + i * kPage + at + 16 * j);
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) s[j][n] = fma(key, set1(q[i * N + n]), s[j][n]);
            }
        }
    }
    OUTPACE_INLINE f32x16 value(int at, int i) const { return load_f16(v + at * head_dim + i); }

    void put(int offset, const float* key, const float* value) const {
        auto* keys = const_cast<uint16_t*>(k);
        auto* values = const_cast<uint16_t*>(v) + offset * head_dim;
        uint16_t half[16];
        for (int i = 0; i < head_dim; i += 16) {
            store_f16(half, load(key + i));
            for (int j = 0; j < 16; ++j) keys[(i + j) * kPage + offset] = half[j];
            store_f16(values + i, load(value + i));
        }
    }
};

// A block's codes and its scale.
struct Codes {
    int32_t q[kBlock];
    uint16_t d;
};

// Eight bits a value.
struct Q8Codes {
    using Code = int8_t;
    static constexpr int kPerCode = 1;

    OUTPACE_INLINE static f32x16 widen(const int8_t* codes) { return load_i8(codes); }
    // The keys of 16 positions for value i, q . k added to `part`.
    template <int N>
    OUTPACE_INLINE static void multiply(const int8_t* keys, const float* q, f32x16 (&part)[N]) {
        const f32x16 key = load_i8(keys);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) part[n] = fma(key, set1(q[n]), part[n]);
    }
    static Codes of(const float* x, int n) {
        f32x16 top16 = zero();
        for (int i = 0; i < n; i += 16) top16 = max(abs(load(x + i)), top16);
        const float top = max(top16), inverse = top > 0.0f ? 127.0f / top : 0.0f;
        Codes found;
        found.d = float_to_half(top / 127.0f);
        for (int i = 0; i < n; i += 16) store_i32(found.q + i, to_i32(mul(load(x + i), set1(inverse))));
        return found;
    }
    static void put_key(int8_t* keys, const int32_t* q) { *keys = static_cast<int8_t>(*q); }
    static void put_values(int8_t* values, const int32_t* q) {
        for (int i = 0; i < 16; ++i) values[i] = static_cast<int8_t>(q[i]);
    }
};

// Four bits a value.
struct Q4Codes {
    using Code = uint8_t;
    static constexpr int kPerCode = 2;

#if defined(__AVX2__)
    OUTPACE_INLINE static __m128i low(__m128i x) {
        return _mm_sub_epi8(_mm_and_si128(x, _mm_set1_epi8(15)), _mm_set1_epi8(8));
    }
    OUTPACE_INLINE static __m128i high(__m128i x) { return low(_mm_srli_epi16(x, 4)); }
    OUTPACE_INLINE static f32x16 floats(__m128i x) {
#if defined(__AVX512F__)
        return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x))};
#else
        return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(x, x)))};
#endif
    }
    OUTPACE_INLINE static void widen_pair(const uint8_t* p, f32x16& a, f32x16& b) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        a = floats(low(x));
        b = floats(high(x));
    }
    OUTPACE_INLINE static f32x16 widen(const uint8_t* p) {
        const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return floats(low(_mm_unpacklo_epi64(x, _mm_srli_epi16(x, 4))));
    }
#else
    OUTPACE_INLINE static void widen_pair(const uint8_t* p, f32x16& a, f32x16& b) {
        for (int i = 0; i < 16; ++i) {
            a.v[i] = static_cast<float>((p[i] & 15) - 8);
            b.v[i] = static_cast<float>((p[i] >> 4) - 8);
        }
    }
    OUTPACE_INLINE static f32x16 widen(const uint8_t* p) {
        f32x16 x;
        for (int i = 0; i < 8; ++i) {
            x.v[i] = static_cast<float>((p[i] & 15) - 8);
            x.v[i + 8] = static_cast<float>((p[i] >> 4) - 8);
        }
        return x;
    }
#endif
    template <int N>
    OUTPACE_INLINE static void multiply(const uint8_t* keys, const float* q, f32x16 (&part)[N]) {
        f32x16 a, b;
        widen_pair(keys, a, b);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) part[n] = fma(a, set1(q[n]), part[n]);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) part[n] = fma(b, set1(q[N + n]), part[n]);
    }
    static Codes of(const float* x, int n) {
        f32x16 most16 = load(x), least16 = sub(zero(), load(x));
        for (int i = 16; i < n; i += 16) {
            most16 = max(most16, load(x + i));
            least16 = max(least16, sub(zero(), load(x + i)));
        }
        const float most = max(most16), least = -max(least16);
        const float extreme = most >= -least ? most : least;
        const float inverse = extreme != 0.0f ? -8.0f / extreme : 0.0f;
        Codes found;
        found.d = float_to_half(extreme / -8.0f);
        for (int i = 0; i < n; i += 16) {
            // Also of what is no number: a nibble must not spill into its neighbour.
            const f32x16 code = max(min(mul(load(x + i), set1(inverse)), set1(7.0f)), set1(-8.0f));
            store_i32(found.q + i, add(to_i32(code), set1_i32(8)));
        }
        return found;
    }
    static void put_key(uint8_t* keys, const int32_t* q) { *keys = static_cast<uint8_t>(q[0] | q[1] << 4); }
    static void put_values(uint8_t* values, const int32_t* q) {
        for (int i = 0; i < 8; ++i) values[i] = static_cast<uint8_t>(q[i] | q[i + 8] << 4);
    }
};

// Blocks of 32 values with one scale.
template <class C>
struct BlockPage {
    using Code = typename C::Code;
    const Code *k, *v;
    const uint16_t *k_scale, *v_scale;
    int head_dim, n_blocks;

    BlockPage(const KVLayer& kv, const uint8_t* page, int head)
        : head_dim(kv.head_dim), n_blocks((kv.head_dim + kBlock - 1) / kBlock) {
        const size_t codes = static_cast<size_t>(head_dim) / C::kPerCode * kPage;
        const size_t scales = static_cast<size_t>(n_blocks) * kPage * 2;
        const uint8_t* p = page + static_cast<size_t>(head) * 2 * (codes + scales);
        k = reinterpret_cast<const Code*>(p);
        k_scale = reinterpret_cast<const uint16_t*>(p + codes);
        v = reinterpret_cast<const Code*>(p + codes + scales);
        v_scale = reinterpret_cast<const uint16_t*>(p + 2 * codes + scales);
    }

    template <int N, int V>
    OUTPACE_INLINE void scores(const float* q, int at, const BlockPage& next, f32x16 (&s)[V][N]) const {
        for (int j = 0; j < V; ++j)
            for (int n = 0; n < N; ++n) s[j][n] = zero();
        for (int b = 0; b < n_blocks; ++b) {
            f32x16 part[V][N];
            for (int j = 0; j < V; ++j)
                for (int n = 0; n < N; ++n) part[j][n] = zero();
            const int end = b * kBlock + size_of(b);
            for (int i = b * kBlock; i < end; i += C::kPerCode) {
                if (at == 0) {
                    fetch_line(v + i / C::kPerCode * kPage);
                    fetch_line(next.k + i / C::kPerCode * kPage);
                }
                for (int j = 0; j < V; ++j)
                    C::template multiply<N>(k + i / C::kPerCode * kPage + at + 16 * j, q + i * N, part[j]);
            }
            for (int j = 0; j < V; ++j) {
                const f32x16 d = load_f16(k_scale + b * kPage + at + 16 * j);
                for (int n = 0; n < N; ++n) s[j][n] = fma(part[j][n], d, s[j][n]);
            }
        }
    }
    OUTPACE_INLINE f32x16 value(int at, int i) const {
        return mul(C::widen(v + (at * head_dim + i) / C::kPerCode),
                   set1(half_to_float(v_scale[at * n_blocks + i / kBlock])));
    }

    void put(int offset, const float* key, const float* value) const {
        auto* keys = const_cast<Code*>(k);
        auto* values = const_cast<Code*>(v) + offset * head_dim / C::kPerCode;
        for (int b = 0; b < n_blocks; ++b) {
            const int begin = b * kBlock, n = size_of(b);
            Codes codes = C::of(key + begin, n);
            const_cast<uint16_t*>(k_scale)[b * kPage + offset] = codes.d;
            for (int i = 0; i < n; i += C::kPerCode)
                C::put_key(keys + (begin + i) / C::kPerCode * kPage + offset, codes.q + i);
            codes = C::of(value + begin, n);
            const_cast<uint16_t*>(v_scale)[offset * n_blocks + b] = codes.d;
            for (int i = 0; i < n; i += 16) C::put_values(values + (begin + i) / C::kPerCode, codes.q + i);
        }
    }

  private:
    OUTPACE_INLINE int size_of(int block) const {
        const int left = head_dim - block * kBlock;
        return left < kBlock ? left : kBlock;
    }
};

template <class P>
struct PageKind {
    using Page = P;
};

// Calls f with the kind of page that a layer's type has.
template <class F>
OUTPACE_INLINE void with_page(const KVLayer& kv, F f) {
    if (kv.kv_type == kF16)
        f(PageKind<F16Page>{});
    else if (kv.kv_type == kQ8_0)
        f(PageKind<BlockPage<Q8Codes>>{});
    else
        f(PageKind<BlockPage<Q4Codes>>{});
}

}  // namespace
}  // namespace outpace
