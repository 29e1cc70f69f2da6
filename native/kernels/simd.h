// Sixteen lanes on every tier, with the same bits: one register on AVX-512, two on AVX2, an array elsewhere.
//
// Every operation below is exactly rounded IEEE arithmetic on each lane (fma rounds once), so a kernel written with
// them gives the same result on every tier as long as it also combines lanes in one order, which `sum` and `max` do.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define OUTPACE_ALWAYS __attribute__((always_inline))
#define OUTPACE_INLINE inline OUTPACE_ALWAYS

namespace outpace {
namespace {

#if defined(__AVX512F__)

struct f32x16 {
    __m512 v;
};
struct i32x16 {
    __m512i v;
};

OUTPACE_INLINE f32x16 zero() { return {_mm512_setzero_ps()}; }
OUTPACE_INLINE f32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
OUTPACE_INLINE f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
OUTPACE_INLINE void store(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
OUTPACE_INLINE f32x16 add(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
OUTPACE_INLINE f32x16 sub(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
OUTPACE_INLINE f32x16 mul(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
OUTPACE_INLINE f32x16 div(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
// Larger of two lanes; the second where either is NaN (the rule of x86's max).
OUTPACE_INLINE f32x16 max(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
OUTPACE_INLINE f32x16 min(f32x16 a, f32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
OUTPACE_INLINE f32x16 abs(f32x16 a) { return {_mm512_abs_ps(a.v)}; }
// a * b + c, rounded once.
OUTPACE_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
OUTPACE_INLINE f32x16 load_f16(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
OUTPACE_INLINE void store_f16(uint16_t* p, f32x16 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
OUTPACE_INLINE f32x16 load_bf16(const uint16_t* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
OUTPACE_INLINE f32x16 load_i8(const int8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
OUTPACE_INLINE f32x16 load_u8(const uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
OUTPACE_INLINE i32x16 set1_i32(int32_t x) { return {_mm512_set1_epi32(x)}; }
OUTPACE_INLINE i32x16 load_i32(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
OUTPACE_INLINE void store_i32(int32_t* p, i32x16 a) { _mm512_storeu_si512(p, a.v); }
OUTPACE_INLINE i32x16 add(i32x16 a, i32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
OUTPACE_INLINE i32x16 sub(i32x16 a, i32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
template <int N>
OUTPACE_INLINE i32x16 shl(i32x16 a) {
    return {_mm512_slli_epi32(a.v, N)};
}
template <int N>
OUTPACE_INLINE i32x16 asr(i32x16 a) {
    return {_mm512_srai_epi32(a.v, N)};
}
OUTPACE_INLINE f32x16 to_f32(i32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
// Nearest integer, ties to even.
OUTPACE_INLINE i32x16 to_i32(f32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }
OUTPACE_INLINE f32x16 bits_to_f32(i32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
OUTPACE_INLINE i32x16 f32_to_bits(f32x16 a) { return {_mm512_castps_si512(a.v)}; }
// Low byte of each lane.
OUTPACE_INLINE void store_i8(int8_t* p, i32x16 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
OUTPACE_INLINE __m256 low_half(f32x16 a) { return _mm512_castps512_ps256(a.v); }
OUTPACE_INLINE __m256 high_half(f32x16 a) { return _mm512_extractf32x8_ps(a.v, 1); }

#elif defined(__AVX2__)

struct f32x16 {
    __m256 a, b;
};
struct i32x16 {
    __m256i a, b;
};

OUTPACE_INLINE f32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
OUTPACE_INLINE f32x16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
OUTPACE_INLINE f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
OUTPACE_INLINE void store(float* p, f32x16 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
OUTPACE_INLINE f32x16 add(f32x16 x, f32x16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
OUTPACE_INLINE f32x16 sub(f32x16 x, f32x16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
OUTPACE_INLINE f32x16 mul(f32x16 x, f32x16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
OUTPACE_INLINE f32x16 div(f32x16 x, f32x16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
OUTPACE_INLINE f32x16 max(f32x16 x, f32x16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
OUTPACE_INLINE f32x16 min(f32x16 x, f32x16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
OUTPACE_INLINE f32x16 abs(f32x16 x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
OUTPACE_INLINE f32x16 fma(f32x16 x, f32x16 y, f32x16 z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
OUTPACE_INLINE f32x16 load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
OUTPACE_INLINE void store_f16(uint16_t* p, f32x16 x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
OUTPACE_INLINE __m256 widen_bf16(const uint16_t* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
OUTPACE_INLINE f32x16 load_bf16(const uint16_t* p) { return {widen_bf16(p), widen_bf16(p + 8)}; }
OUTPACE_INLINE f32x16 load_i8(const int8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(x, x)))};
}
OUTPACE_INLINE f32x16 load_u8(const uint8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(x, x)))};
}
OUTPACE_INLINE i32x16 set1_i32(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
OUTPACE_INLINE i32x16 load_i32(const int32_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
OUTPACE_INLINE void store_i32(int32_t* p, i32x16 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
}
OUTPACE_INLINE i32x16 add(i32x16 x, i32x16 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
OUTPACE_INLINE i32x16 sub(i32x16 x, i32x16 y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
template <int N>
OUTPACE_INLINE i32x16 shl(i32x16 x) {
    return {_mm256_slli_epi32(x.a, N), _mm256_slli_epi32(x.b, N)};
}
template <int N>
OUTPACE_INLINE i32x16 asr(i32x16 x) {
    return {_mm256_srai_epi32(x.a, N), _mm256_srai_epi32(x.b, N)};
}
OUTPACE_INLINE f32x16 to_f32(i32x16 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
OUTPACE_INLINE i32x16 to_i32(f32x16 x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
OUTPACE_INLINE f32x16 bits_to_f32(i32x16 x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
OUTPACE_INLINE i32x16 f32_to_bits(f32x16 x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
OUTPACE_INLINE void store_i8(int8_t* p, i32x16 x) {
    const __m256i byte0 = _mm256_set1_epi32(0xff);
    const __m256i words = _mm256_packus_epi32(_mm256_and_si256(x.a, byte0), _mm256_and_si256(x.b, byte0));
    const __m256i bytes = _mm256_packus_epi16(words, words);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(bytes, order)));
}
OUTPACE_INLINE __m256 low_half(f32x16 x) { return x.a; }
OUTPACE_INLINE __m256 high_half(f32x16 x) { return x.b; }

#else

struct f32x16 {
    float v[16];
};
struct i32x16 {
    int32_t v[16];
};

#define OUTPACE_LANES(T, expr)                    \
    T out;                                        \
    for (int i = 0; i < 16; ++i) out.v[i] = expr; \
    return out

OUTPACE_INLINE float f16_to_f32(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    const uint32_t body = static_cast<uint32_t>(h & 0x7fffu) << 13;
    float x;
    uint32_t bits = body;
    if (body >= 0x0f800000u) {
        bits = body + 0x70000000u;  // infinities and NaN keep an all-ones exponent
        if (body > 0x0f800000u) bits |= 0x00400000u;
        std::memcpy(&x, &bits, 4);
    } else {
        std::memcpy(&x, &bits, 4);
        x *= 0x1p112f;  // exact, subnormals too
    }
    std::memcpy(&bits, &x, 4);
    bits |= sign;
    std::memcpy(&x, &bits, 4);
    return x;
}

// Round to nearest even, as the hardware does.
OUTPACE_INLINE uint16_t f32_to_f16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((bits >> 13) & 0x3ffu));
    if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (bits < 0x38800000u) {  // subnormal half: let the float adder round
        float y;
        std::memcpy(&y, &bits, 4);
        y += 0.5f;
        uint32_t half;
        std::memcpy(&half, &y, 4);
        return static_cast<uint16_t>(sign | (half - 0x3f000000u));
    }
    const uint32_t odd = (bits >> 13) & 1u;
    return static_cast<uint16_t>(sign | ((bits - 0x38000000u + 0xfffu + odd) >> 13));
}

OUTPACE_INLINE f32x16 zero() { OUTPACE_LANES(f32x16, 0.0f); }
OUTPACE_INLINE f32x16 set1(float x) { OUTPACE_LANES(f32x16, x); }
OUTPACE_INLINE f32x16 load(const float* p) { OUTPACE_LANES(f32x16, p[i]); }
OUTPACE_INLINE void store(float* p, f32x16 a) { std::memcpy(p, a.v, sizeof a.v); }
OUTPACE_INLINE f32x16 add(f32x16 a, f32x16 b) { OUTPACE_LANES(f32x16, a.v[i] + b.v[i]); }
OUTPACE_INLINE f32x16 sub(f32x16 a, f32x16 b) { OUTPACE_LANES(f32x16, a.v[i] - b.v[i]); }
OUTPACE_INLINE f32x16 mul(f32x16 a, f32x16 b) { OUTPACE_LANES(f32x16, a.v[i] * b.v[i]); }
OUTPACE_INLINE f32x16 div(f32x16 a, f32x16 b) { OUTPACE_LANES(f32x16, a.v[i] / b.v[i]); }
OUTPACE_INLINE f32x16 max(f32x16 a, f32x16 b) { OUTPACE_LANES(f32x16, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
OUTPACE_INLINE f32x16 min(f32x16 a, f32x16 b) { OUTPACE_LANES(f32x16, a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
OUTPACE_INLINE f32x16 abs(f32x16 a) { OUTPACE_LANES(f32x16, std::fabs(a.v[i])); }
OUTPACE_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { OUTPACE_LANES(f32x16, std::fma(a.v[i], b.v[i], c.v[i])); }
OUTPACE_INLINE f32x16 load_f16(const uint16_t* p) { OUTPACE_LANES(f32x16, f16_to_f32(p[i])); }
OUTPACE_INLINE void store_f16(uint16_t* p, f32x16 a) {
    for (int i = 0; i < 16; ++i) p[i] = f32_to_f16(a.v[i]);
}
OUTPACE_INLINE f32x16 load_bf16(const uint16_t* p) {
    f32x16 out;
    for (int i = 0; i < 16; ++i) {
        const uint32_t bits = static_cast<uint32_t>(p[i]) << 16;
        std::memcpy(&out.v[i], &bits, 4);
    }
    return out;
}
OUTPACE_INLINE f32x16 load_i8(const int8_t* p) { OUTPACE_LANES(f32x16, static_cast<float>(p[i])); }
OUTPACE_INLINE f32x16 load_u8(const uint8_t* p) { OUTPACE_LANES(f32x16, static_cast<float>(p[i])); }
OUTPACE_INLINE i32x16 set1_i32(int32_t x) { OUTPACE_LANES(i32x16, x); }
OUTPACE_INLINE i32x16 load_i32(const int32_t* p) { OUTPACE_LANES(i32x16, p[i]); }
OUTPACE_INLINE void store_i32(int32_t* p, i32x16 a) { std::memcpy(p, a.v, sizeof a.v); }
// Unsigned arithmetic: wrap-around is defined, as in the vector tiers.
OUTPACE_INLINE i32x16 add(i32x16 a, i32x16 b) {
    OUTPACE_LANES(i32x16, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i])));
}
OUTPACE_INLINE i32x16 sub(i32x16 a, i32x16 b) {
    OUTPACE_LANES(i32x16, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) - static_cast<uint32_t>(b.v[i])));
}
template <int N>
OUTPACE_INLINE i32x16 shl(i32x16 a) {
    OUTPACE_LANES(i32x16, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << N));
}
template <int N>
OUTPACE_INLINE i32x16 asr(i32x16 a) {
    OUTPACE_LANES(i32x16, a.v[i] >> N);
}
OUTPACE_INLINE f32x16 to_f32(i32x16 a) { OUTPACE_LANES(f32x16, static_cast<float>(a.v[i])); }
OUTPACE_INLINE int32_t nearest_i32(float x) {
    // What x86 gives for NaN and for values out of range, on every tier.
    return x >= -2147483648.0f && x < 2147483648.0f ? static_cast<int32_t>(std::nearbyint(x)) : INT32_MIN;
}
OUTPACE_INLINE i32x16 to_i32(f32x16 a) { OUTPACE_LANES(i32x16, nearest_i32(a.v[i])); }
OUTPACE_INLINE f32x16 bits_to_f32(i32x16 a) {
    f32x16 out;
    std::memcpy(out.v, a.v, sizeof out.v);
    return out;
}
OUTPACE_INLINE i32x16 f32_to_bits(f32x16 a) {
    i32x16 out;
    std::memcpy(out.v, a.v, sizeof out.v);
    return out;
}
OUTPACE_INLINE void store_i8(int8_t* p, i32x16 a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(static_cast<uint32_t>(a.v[i]) & 0xffu);
}
#undef OUTPACE_LANES

#endif

// Lanes combined as a tree of halves: 0+8, 1+9, ... then 0+4, ..., 0+2, 0+1. One order, every tier.
#if defined(__AVX2__)
OUTPACE_INLINE float sum(f32x16 a) {
    const __m256 eight = _mm256_add_ps(low_half(a), high_half(a));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
OUTPACE_INLINE float max(f32x16 a) {
    const __m256 eight = _mm256_max_ps(low_half(a), high_half(a));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
// Of 16 bytes; sums of differences are taken of unsigned ones.
OUTPACE_INLINE int32_t sum_i8(const int8_t* p) {
    const __m128i raised = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), _mm_set1_epi8(-128));
    const __m128i two = _mm_sad_epu8(raised, _mm_setzero_si128());
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_unpackhi_epi64(two, two))) - 16 * 128;
}
#else
OUTPACE_INLINE float sum(f32x16 a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
    return a.v[0];
}
OUTPACE_INLINE float max(f32x16 a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    return a.v[0];
}
OUTPACE_INLINE int32_t sum_i8(const int8_t* p) {
    int32_t total = 0;
    for (int i = 0; i < 16; ++i) total += p[i];
    return total;
}
#endif

// e^x within 2 ulp: x = n ln 2 + r, a polynomial for e^r (Cephes' coefficients), n put into the exponent.
// Inputs below -86.9 give 0; those above 88.7 what 88.7 gives (3.4e38); NaN stays NaN.
OUTPACE_INLINE f32x16 exp(f32x16 x) {
    const f32x16 low = set1(-87.33654f), high = set1(88.72283f);
    // max/min return the second operand on NaN, so NaN is carried by the operand order.
    const f32x16 clamped = min(high, max(low, x));
    const i32x16 n = to_i32(mul(clamped, set1(1.44269504088896341f)));
    const f32x16 nf = to_f32(n);
    f32x16 r = fma(nf, set1(-0.693359375f), clamped);
    r = fma(nf, set1(2.12194440e-4f), r);
    f32x16 p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = fma(p, mul(r, r), add(r, set1(1.0f)));
    // 2^n as 2^(n-1) * 2, so that n = 128 does not overflow the exponent field.
    return mul(mul(p, bits_to_f32(shl<23>(add(n, set1_i32(126))))), set1(2.0f));
}

}  // namespace
}  // namespace outpace
