// Counter-based Gumbel noise, and the log and exp that it and the nucleus weights use, on sixteen lanes.
//
//   g = -log(-log(1 - w)),  w = (k + 1/2) / 2^31,  k = Philox4x32-10(counter, key) >> 1
//
// Layout: lane i runs Philox block 16 c + i, whose four words belong to tokens 64 c + i, + 16, + 32 and + 48.
// Arithmetic: multiply and add, each rounded once, never fused: numpy must be able to give the same bits
// (src/outpace/sampling/polynomials.py and noise.py are the definition, tests/native/test_sample.py compares).
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); Cephes logf and expf.
#pragma once

#include "kernels/sampling.h"
#include "kernels/simd.h"

namespace outpace {
namespace {
namespace sampling {

#if defined(__AVX512F__)

OUTPACE_INLINE i32x16 bit_xor(i32x16 a, i32x16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int N>
OUTPACE_INLINE i32x16 shift_right(i32x16 a) {
    return {_mm512_srli_epi32(a.v, N)};
}
template <int N>
OUTPACE_INLINE i32x16 shift_right_signed(i32x16 a) {
    return {_mm512_srai_epi32(a.v, N)};
}
// The 64-bit products of unsigned lanes and m, as high and low halves.
OUTPACE_INLINE void multiply_wide(i32x16 a, uint32_t m, i32x16& high, i32x16& low) {
    const __m512i factor = _mm512_set1_epi32(static_cast<int32_t>(m));
    const __m512i even = _mm512_mul_epu32(a.v, factor);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), factor);
    high.v = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    low.v = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}
// One bit a lane, lane 0 lowest.
OUTPACE_INLINE uint32_t mask_le(i32x16 a, i32x16 b) { return _mm512_cmple_epi32_mask(a.v, b.v); }
OUTPACE_INLINE uint32_t mask_ge(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }
OUTPACE_INLINE uint32_t mask_eq(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
OUTPACE_INLINE uint32_t mask_nan(f32x16 a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q); }
// a >= b ? x : y
OUTPACE_INLINE f32x16 select_ge(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ), y.v, x.v)};
}
OUTPACE_INLINE float largest(f32x16 a) { return _mm512_reduce_max_ps(a.v); }

struct f64x16 {
    __m512d a, b;
};
OUTPACE_INLINE f64x16 add(f64x16 x, f32x16 y) {
    return {_mm512_add_pd(x.a, _mm512_cvtps_pd(low_half(y))), _mm512_add_pd(x.b, _mm512_cvtps_pd(high_half(y)))};
}
OUTPACE_INLINE void store(double* p, f64x16 x) {
    _mm512_storeu_pd(p, x.a);
    _mm512_storeu_pd(p + 8, x.b);
}

#elif defined(__AVX2__)

OUTPACE_INLINE i32x16 bit_xor(i32x16 x, i32x16 y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
template <int N>
OUTPACE_INLINE i32x16 shift_right(i32x16 x) {
    return {_mm256_srli_epi32(x.a, N), _mm256_srli_epi32(x.b, N)};
}
template <int N>
OUTPACE_INLINE i32x16 shift_right_signed(i32x16 x) {
    return {_mm256_srai_epi32(x.a, N), _mm256_srai_epi32(x.b, N)};
}
OUTPACE_INLINE void multiply_wide8(__m256i a, __m256i factor, __m256i& high, __m256i& low) {
    const __m256i even = _mm256_mul_epu32(a, factor);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
OUTPACE_INLINE void multiply_wide(i32x16 x, uint32_t m, i32x16& high, i32x16& low) {
    const __m256i factor = _mm256_set1_epi32(static_cast<int32_t>(m));
    multiply_wide8(x.a, factor, high.a, low.a);
    multiply_wide8(x.b, factor, high.b, low.b);
}
OUTPACE_INLINE uint32_t bits_of(__m256 a, __m256 b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(a)) | static_cast<uint32_t>(_mm256_movemask_ps(b)) << 8;
}
OUTPACE_INLINE uint32_t mask_le(i32x16 x, i32x16 y) {
    return 0xffffu ^ bits_of(_mm256_castsi256_ps(_mm256_cmpgt_epi32(x.a, y.a)),
                             _mm256_castsi256_ps(_mm256_cmpgt_epi32(x.b, y.b)));
}
OUTPACE_INLINE uint32_t mask_ge(f32x16 x, f32x16 y) {
    return bits_of(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ));
}
OUTPACE_INLINE uint32_t mask_eq(f32x16 x, f32x16 y) {
    return bits_of(_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ));
}
OUTPACE_INLINE uint32_t mask_nan(f32x16 x) {
    return bits_of(_mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q), _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q));
}
OUTPACE_INLINE f32x16 select_ge(f32x16 p, f32x16 q, f32x16 x, f32x16 y) {
    return {_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_GE_OQ)),
            _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_GE_OQ))};
}
OUTPACE_INLINE float largest(f32x16 x) {
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

struct f64x16 {
    __m256d v[4];
};
OUTPACE_INLINE f64x16 add(f64x16 x, f32x16 y) {
    const __m128 four[] = {_mm256_castps256_ps128(y.a), _mm256_extractf128_ps(y.a, 1), _mm256_castps256_ps128(y.b),
                           _mm256_extractf128_ps(y.b, 1)};
    for (int i = 0; i < 4; ++i) x.v[i] = _mm256_add_pd(x.v[i], _mm256_cvtps_pd(four[i]));
    return x;
}
OUTPACE_INLINE void store(double* p, f64x16 x) {
    for (int i = 0; i < 4; ++i) _mm256_storeu_pd(p + 4 * i, x.v[i]);
}

#else

OUTPACE_INLINE i32x16 bit_xor(i32x16 a, i32x16 b) {
    for (int i = 0; i < 16; ++i) a.v[i] ^= b.v[i];
    return a;
}
template <int N>
OUTPACE_INLINE i32x16 shift_right(i32x16 a) {
    for (int i = 0; i < 16; ++i) a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) >> N);
    return a;
}
template <int N>
OUTPACE_INLINE i32x16 shift_right_signed(i32x16 a) {
    for (int i = 0; i < 16; ++i) a.v[i] >>= N;
    return a;
}
OUTPACE_INLINE void multiply_wide(i32x16 a, uint32_t m, i32x16& high, i32x16& low) {
    for (int i = 0; i < 16; ++i) {
        const uint64_t product = static_cast<uint64_t>(static_cast<uint32_t>(a.v[i])) * m;
        high.v[i] = static_cast<int32_t>(product >> 32);
        low.v[i] = static_cast<int32_t>(product);
    }
}
#define OUTPACE_MASK(test)                                                 \
    uint32_t mask = 0;                                                     \
    for (int i = 0; i < 16; ++i) mask |= static_cast<uint32_t>(test) << i; \
    return mask
OUTPACE_INLINE uint32_t mask_le(i32x16 a, i32x16 b) { OUTPACE_MASK(a.v[i] <= b.v[i]); }
OUTPACE_INLINE uint32_t mask_ge(f32x16 a, f32x16 b) { OUTPACE_MASK(a.v[i] >= b.v[i]); }
OUTPACE_INLINE uint32_t mask_eq(f32x16 a, f32x16 b) { OUTPACE_MASK(a.v[i] == b.v[i]); }
OUTPACE_INLINE uint32_t mask_nan(f32x16 a) { OUTPACE_MASK(a.v[i] != a.v[i]); }
#undef OUTPACE_MASK
OUTPACE_INLINE f32x16 select_ge(f32x16 a, f32x16 b, f32x16 x, f32x16 y) {
    for (int i = 0; i < 16; ++i) y.v[i] = a.v[i] >= b.v[i] ? x.v[i] : y.v[i];
    return y;
}
OUTPACE_INLINE float largest(f32x16 a) { return max(a); }

struct f64x16 {
    double v[16];
};
OUTPACE_INLINE f64x16 add(f64x16 x, f32x16 y) {
    for (int i = 0; i < 16; ++i) x.v[i] += static_cast<double>(y.v[i]);
    return x;
}
OUTPACE_INLINE void store(double* p, f64x16 x) { std::memcpy(p, x.v, sizeof x.v); }

#endif

// Philox 4x32-10 on sixteen blocks at once: word w of block `blocks` goes to out[w].
OUTPACE_INLINE void philox(i32x16 blocks, NoiseKey key, i32x16 out[4]) {
    const auto word = [](uint64_t x) { return set1_i32(static_cast<int32_t>(static_cast<uint32_t>(x))); };
    i32x16 c0 = blocks, c1 = word(key.position), c2 = word(key.position >> 32), c3 = set1_i32(0);
    uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
    for (int round = 0; round < 10; ++round) {
        i32x16 high0, low0, high1, low1;
        multiply_wide(c0, 0xd2511f53u, high0, low0);
        multiply_wide(c2, 0xcd9e8d57u, high1, low1);
        c0 = bit_xor(bit_xor(high1, c1), word(k0));
        c1 = low1;
        c2 = bit_xor(bit_xor(high0, c3), word(k1));
        c3 = low0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

// x = (1 + t) * 2^e with 1 + t in [sqrt(1/2), sqrt(2)); x is positive and normal.
OUTPACE_INLINE void split(f32x16 x, f32x16& t, f32x16& e) {
    const i32x16 bits = f32_to_bits(x);
    const i32x16 whole = shift_right_signed<23>(sub(bits, set1_i32(0x3f3504f3)));
    t = sub(bits_to_f32(sub(bits, shl<23>(whole))), set1(1.0f));
    e = to_f32(whole);
}

// log((1 + t) * 2^e)
OUTPACE_INLINE f32x16 log_of(f32x16 t, f32x16 e) {
    const float c[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,  -1.2420140846e-1f, 1.4249322787e-1f,
                       -1.6668057665e-1f, 2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    const f32x16 z = mul(t, t);
    f32x16 p = set1(c[0]);
    for (int i = 1; i < 9; ++i) p = add(mul(p, t), set1(c[i]));
    f32x16 y = mul(mul(t, z), p);
    y = add(y, mul(e, set1(kLn2Low)));
    y = sub(y, mul(z, set1(0.5f)));
    return add(add(t, y), mul(e, set1(kLn2High)));
}

// 2^log2_scale * e^x for x <= 0; below -80 it is as for -80.
OUTPACE_INLINE f32x16 exp_scaled(f32x16 x, int log2_scale) {
    x = max(x, set1(-80.0f));
    const i32x16 whole = to_i32(mul(x, set1(1.44269504088896341f)));
    const f32x16 n = to_f32(whole);
    const f32x16 r = sub(sub(x, mul(n, set1(kLn2High))), mul(n, set1(kLn2Low)));
    const float c[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                       4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    f32x16 p = set1(c[0]);
    for (int i = 1; i < 6; ++i) p = add(mul(p, r), set1(c[i]));
    p = add(mul(p, mul(r, r)), add(r, set1(1.0f)));
    return mul(p, bits_to_f32(shl<23>(add(whole, set1_i32(127 + log2_scale)))));
}

// Gumbel noise from k = word >> 1.
OUTPACE_INLINE f32x16 gumbel_of(i32x16 k) {
    const f32x16 half = set1(0.5f), scale = set1(0x1p-31f), zeros = zero();
    const f32x16 w = mul(add(to_f32(k), half), scale);
    const f32x16 complement = mul(add(to_f32(sub(set1_i32(0x7fffffff), k)), half), scale);
    f32x16 t, e;
    split(complement, t, e);
    // Near 1 the complement has lost w's low bits: take them from w itself.
    const f32x16 sqrt_half = bits_to_f32(set1_i32(0x3f3504f3));
    t = select_ge(complement, sqrt_half, sub(zeros, w), t);
    e = select_ge(complement, sqrt_half, zeros, e);
    split(sub(zeros, log_of(t, e)), t, e);
    return sub(zeros, log_of(t, e));
}

}  // namespace sampling
}  // namespace
}  // namespace outpace
