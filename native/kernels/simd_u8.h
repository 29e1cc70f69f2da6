// Sixty-four unsigned bytes on every tier, and the product that the whole engine stands on: byte 4 r + j of the
// weights times byte j of four activations, summed over j into 32-bit lane r.
#pragma once

#include "kernels/simd.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace outpace {
namespace {

// Whether a product takes any byte at the price of a small one.
#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(__AVXVNNI__)
constexpr bool kAnyBytes = false;
#else
constexpr bool kAnyBytes = true;
#endif

template <int N>
struct Index {
    static constexpr int value = N;
};

// Calls f(Index<0>), ..., f(Index<N - 1>): a loop whose counter is a constant.
template <int N, int I = 0, class F>
OUTPACE_INLINE void unroll(F&& f) {
    if constexpr (I < N) {
        f(Index<I>{});
        unroll<N, I + 1>(f);
    }
}

#if defined(__AVX512F__)

struct u8x64 {
    __m512i v;
};
struct i8x4 {
    __m512i v;
};
OUTPACE_INLINE i8x4 load_i8x4(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return {_mm512_set1_epi32(four)};
}
OUTPACE_INLINE u8x64 load_u8x64(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
OUTPACE_INLINE void store_u8x64(uint8_t* p, u8x64 a) { _mm512_storeu_si512(p, a.v); }
OUTPACE_INLINE u8x64 bits_and(u8x64 a, uint8_t mask) {
    return {_mm512_and_si512(a.v, _mm512_set1_epi8(static_cast<char>(mask)))};
}
OUTPACE_INLINE u8x64 bits_or(u8x64 a, u8x64 b) { return {_mm512_or_si512(a.v, b.v)}; }
// a | (b & mask)
OUTPACE_INLINE u8x64 bits_or_masked(u8x64 a, u8x64 b, uint8_t mask) {
    return {_mm512_ternarylogic_epi32(a.v, b.v, _mm512_set1_epi8(static_cast<char>(mask)), 0xf8)};
}
// Shifts each pair of bytes; the caller masks what crosses over. Negative N shifts left.
template <int N>
OUTPACE_INLINE u8x64 shift_right(u8x64 a) {
    if constexpr (N >= 0)
        return {_mm512_srli_epi16(a.v, N)};
    else
        return {_mm512_slli_epi16(a.v, -N)};
}
// Four activations, for every lane of a product. Exact for any unsigned bytes (Wide) and here also for the narrow ones.
template <bool Wide>
OUTPACE_INLINE i32x16 dot4(i32x16 sum, u8x64 w, i8x4 a) {
    return {_mm512_dpbusd_epi32(sum.v, w.v, a.v)};
}

#elif defined(__AVX2__)

struct u8x64 {
    __m256i a, b;
};
struct i8x4 {
    __m256i v;
};
OUTPACE_INLINE i8x4 load_i8x4(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return {_mm256_set1_epi32(four)};
}
OUTPACE_INLINE u8x64 load_u8x64(const uint8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
OUTPACE_INLINE void store_u8x64(uint8_t* p, u8x64 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), x.b);
}
OUTPACE_INLINE u8x64 bits_and(u8x64 x, uint8_t mask) {
    const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
    return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
OUTPACE_INLINE u8x64 bits_or(u8x64 x, u8x64 y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
template <int N>
OUTPACE_INLINE u8x64 shift_right(u8x64 x) {
    if constexpr (N >= 0)
        return {_mm256_srli_epi16(x.a, N), _mm256_srli_epi16(x.b, N)};
    else
        return {_mm256_slli_epi16(x.a, -N), _mm256_slli_epi16(x.b, -N)};
}
#if defined(__AVXVNNI__)
template <bool Wide>
OUTPACE_INLINE i32x16 dot4(i32x16 sum, u8x64 w, i8x4 x) {
    return {_mm256_dpbusd_avx_epi32(sum.a, w.a, x.v), _mm256_dpbusd_avx_epi32(sum.b, w.b, x.v)};
}
#else
OUTPACE_INLINE __m256i dot4_half(__m256i sum, __m256i w, __m256i x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
// maddubs saturates pairs at 16 bits: weights below 128 cannot reach that; wider ones go in two parts.
template <bool Wide>
OUTPACE_INLINE i32x16 dot4(i32x16 sum, u8x64 w, i8x4 four) {
    const __m256i x = four.v;
    if constexpr (Wide) {
        const u8x64 low = bits_and(w, 0x7f), high = bits_and(w, 0x80);
        sum = {dot4_half(sum.a, low.a, x), dot4_half(sum.b, low.b, x)};
        return {dot4_half(sum.a, high.a, x), dot4_half(sum.b, high.b, x)};
    }
    return {dot4_half(sum.a, w.a, x), dot4_half(sum.b, w.b, x)};
}
#endif

#else

struct u8x64 {
    uint8_t v[64];
};
struct i8x4 {
    int8_t v[4];
};
OUTPACE_INLINE i8x4 load_i8x4(const int8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
OUTPACE_INLINE u8x64 load_u8x64(const uint8_t* p) {
    u8x64 out;
    std::memcpy(out.v, p, 64);
    return out;
}
OUTPACE_INLINE void store_u8x64(uint8_t* p, u8x64 a) { std::memcpy(p, a.v, 64); }
OUTPACE_INLINE u8x64 bits_and(u8x64 a, uint8_t mask) {
    for (uint8_t& x : a.v) x &= mask;
    return a;
}
OUTPACE_INLINE u8x64 bits_or(u8x64 a, u8x64 b) {
    for (int i = 0; i < 64; ++i) a.v[i] |= b.v[i];
    return a;
}
// Within each byte; the vector tiers let bits cross between bytes, but callers mask those away.
template <int N>
OUTPACE_INLINE u8x64 shift_right(u8x64 a) {
    for (uint8_t& x : a.v) x = static_cast<uint8_t>(N >= 0 ? x >> (N < 0 ? 0 : N) : x << (N < 0 ? -N : 0));
    return a;
}
#if defined(__SSE2__)
template <bool Wide>
OUTPACE_INLINE i32x16 dot4(i32x16 sum, const u8x64& w, i8x4 a) {
    int32_t four;
    std::memcpy(&four, a.v, 4);
    const __m128i bytes = _mm_set1_epi32(four), zero = _mm_setzero_si128();
    const __m128i x = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);  // a0 a1 a2 a3 a0 a1 a2 a3
    for (int i = 0; i < 4; ++i) {                                          // rows 4 i to 4 i + 3
        const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.v + 16 * i));
        const __m128 low = _mm_castsi128_ps(_mm_madd_epi16(_mm_unpacklo_epi8(v, zero), x));
        const __m128 high = _mm_castsi128_ps(_mm_madd_epi16(_mm_unpackhi_epi8(v, zero), x));
        const __m128i even = _mm_castps_si128(_mm_shuffle_ps(low, high, 0x88));
        const __m128i odd = _mm_castps_si128(_mm_shuffle_ps(low, high, 0xdd));
        auto* at = reinterpret_cast<__m128i*>(sum.v + 4 * i);
        _mm_storeu_si128(at, _mm_add_epi32(_mm_loadu_si128(at), _mm_add_epi32(even, odd)));
    }
    return sum;
}
#else
// A call: unrolled copies of these loops would take minutes to compile and run no faster.
template <bool Wide>
__attribute__((noinline)) i32x16 dot4(i32x16 sum, const u8x64& w, i8x4 a) {
    for (int r = 0; r < 16; ++r)
        for (int j = 0; j < 4; ++j) sum.v[r] += static_cast<int32_t>(w.v[4 * r + j]) * a.v[j];
    return sum;
}

#endif

#endif

#if !defined(__AVX512F__)
OUTPACE_INLINE u8x64 bits_or_masked(u8x64 a, u8x64 b, uint8_t mask) { return bits_or(a, bits_and(b, mask)); }
#endif

OUTPACE_INLINE u8x64 low_nibbles(u8x64 a) { return bits_and(a, 0x0f); }
OUTPACE_INLINE u8x64 high_nibbles(u8x64 a) { return bits_and(shift_right<4>(a), 0x0f); }

}  // namespace
}  // namespace outpace
