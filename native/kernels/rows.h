// Verbs that work on one row at a time: norm, activation quantising, gates, rotary, sums.
// Sums run over 16 lanes along the row, lane by lane in order, then as a tree of halves (simd.h).
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace outpace {
namespace {

// Calls f(i, x) for 16 values at a time; the tail is padded with zeros and f's result for it is cut.
template <class F>
OUTPACE_INLINE void map_row(const float* x, int n, float* out, F&& f) {
    int i = 0;
    for (; i + 16 <= n; i += 16) store(out + i, f(i, load(x + i)));
    if (i < n) {
        float in[16] = {}, tail[16];
        std::memcpy(in, x + i, static_cast<size_t>(n - i) * sizeof(float));
        store(tail, f(i, load(in)));
        std::memcpy(out + i, tail, static_cast<size_t>(n - i) * sizeof(float));
    }
}

// 16 values from p, zeros past n.
OUTPACE_INLINE f32x16 load_part(const float* p, int n) {
    if (n >= 16) return load(p);
    float in[16] = {};
    std::memcpy(in, p, static_cast<size_t>(n) * sizeof(float));
    return load(in);
}

void rms_norm(const float* x, const float* w, int n, float eps, float* out) {
    f32x16 squares = zero();
    for (int i = 0; i < n; i += 16) {
        const f32x16 v = load_part(x + i, n - i);
        squares = fma(v, v, squares);
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / static_cast<float>(n) + eps);
    map_row(x, n, out, [&](int i, f32x16 v) { return mul(mul(v, set1(scale)), load_part(w + i, n - i)); });
}

// x / sqrt(sum of squares + eps), then times factor.
void l2_norm(const float* x, int n, float eps, float factor, float* out) {
    f32x16 squares = zero();
    for (int i = 0; i < n; i += 16) {
        const f32x16 v = load_part(x + i, n - i);
        squares = fma(v, v, squares);
    }
    const f32x16 scale = set1(1.0f / std::sqrt(sum(squares) + eps)), more = set1(factor);
    map_row(x, n, out, [&](int, f32x16 v) { return mul(mul(v, scale), more); });
}

// A block whose largest value is more than kFar times the mean of those of its stretch has codes of 16 bits.
constexpr int kStretch = 16;  // blocks
constexpr float kFar = 2.0f;

// Codes of 32 values: round(x * per) to nearest even. Deterministic for NaN and infinity, whose
// codes lose their upper bits alike on every tier; so do their sums.
struct Rounded {
    i32x16 lo, hi;
};
OUTPACE_INLINE Rounded rounded(const float* x, float per) {
    return {to_i32(mul(load(x), set1(per))), to_i32(mul(load(x + 16), set1(per)))};
}
OUTPACE_INLINE Offsets store_codes(const Rounded& code, int8_t* q) {
    store_i8(q, code.lo);
    store_i8(q + 16, code.hi);
    const int32_t first = sum_i8(q), rest = sum_i8(q + 16);
    const int32_t all = first + rest;
    return {{-8 * all, -16 * all, -128 * all}, -32 * first, -32 * rest};
}
OUTPACE_INLINE Offsets as_float_bits(const Offsets& o) {
    return {{kFloatBits + o.all[0], kFloatBits + o.all[1], kFloatBits + o.all[2]},
            kFloatBits + o.first,
            kFloatBits + o.rest};
}

// Blocks of 32 (n a multiple of 32). 8 bits: d = max|x| / 127, code = x / d. 16 bits: 256 code = x / (d / 256) with
// d / 256 = max|x| / (127 * 256), in two planes of signed bytes.
void quantize(const float* x, int n, CodeRow out) {
    float top[kStretch];
    for (int begin = 0; begin < n; begin += kStretch * kBlock) {
        const int n_blocks = std::min(kStretch, (n - begin) / kBlock);
        float all = 0.0f;
        for (int b = 0; b < n_blocks; ++b) {
            top[b] = max(max(abs(load(x + b * kBlock)), abs(load(x + b * kBlock + 16))));
            all += top[b];
        }
        const float far = kFar * all / static_cast<float>(n_blocks);
        for (int b = 0; b < n_blocks;
             ++b, x += kBlock, out.q += kBlock, out.low += kBlock, ++out.s, ++out.low_offsets) {
            BlockScale& s = *out.s;
            const bool is_far = top[b] > far;
            *out.has_low = is_far;
            out.has_low += kGroupRows;
            const float most = is_far ? 127.0f * 256.0f : 127.0f;
            const Rounded code = rounded(x, top[b] > 0.0f ? most / top[b] : 0.0f);
            if (is_far) {
                const Rounded upper = {asr<8>(add(code.lo, set1_i32(128))), asr<8>(add(code.hi, set1_i32(128)))};
                const Offsets offsets = store_codes(upper, out.q);
                s.q = as_float_bits(offsets);
                *out.low_offsets =
                    store_codes({sub(code.lo, shl<8>(upper.lo)), sub(code.hi, shl<8>(upper.hi))}, out.low);
                const float unit = top[b] / most;
                s.d = 256.0f * unit;
                s.ds = unit * static_cast<float>((256 * offsets.all[0] + out.low_offsets->all[0]) / -8);
            } else {
                const Offsets offsets = store_codes(code, out.q);
                s.q = as_float_bits(offsets);
                std::memset(out.low, 0, kBlock);
                *out.low_offsets = {};
                s.d = top[b] / most;
                s.ds = s.d * static_cast<float>(offsets.all[0] / -8);
            }
        }
    }
}

OUTPACE_INLINE f32x16 silu16(f32x16 x) { return div(x, add(set1(1.0f), exp(sub(zero(), x)))); }

void swiglu(const float* gate, const float* up, int n, float* out) {
    map_row(gate, n, out, [&](int i, f32x16 g) { return mul(silu16(g), load_part(up + i, n - i)); });
}

void silu(const float* x, int n, float* out) {
    map_row(x, n, out, [](int, f32x16 v) { return silu16(v); });
}

OUTPACE_INLINE f32x16 sigmoid16(f32x16 x) { return div(set1(1.0f), add(set1(1.0f), exp(sub(zero(), x)))); }

void sigmoid(const float* x, int n, float* out) {
    map_row(x, n, out, [](int, f32x16 v) { return sigmoid16(v); });
}

// x * sigmoid(gate)
void gated(const float* x, const float* gate, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) { return mul(v, sigmoid16(load_part(gate + i, n - i))); });
}

// log(1 + t) for t in 0 .. 1 within 2 ulp: 2 artanh(z) with z = t / (2 + t) <= 1/3, by its series.
OUTPACE_INLINE f32x16 log1p(f32x16 t) {
    const f32x16 z = div(t, add(t, set1(2.0f))), w = mul(z, z);
    f32x16 p = set1(1.0f / 15);
    p = fma(p, w, set1(1.0f / 13));
    p = fma(p, w, set1(1.0f / 11));
    p = fma(p, w, set1(1.0f / 9));
    p = fma(p, w, set1(1.0f / 7));
    p = fma(p, w, set1(1.0f / 5));
    p = fma(p, w, set1(1.0f / 3));
    p = fma(p, w, set1(1.0f));
    return mul(add(z, z), p);
}

// log(1 + e^x) without overflow.
OUTPACE_INLINE f32x16 softplus(f32x16 x) { return add(max(zero(), x), log1p(exp(sub(zero(), abs(x))))); }

// exp(rate * softplus(x + bias))
void decay(const float* x, const float* rate, const float* bias, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) {
        return exp(mul(load_part(rate + i, n - i), softplus(add(v, load_part(bias + i, n - i)))));
    });
}

void add_rows(const float* x, const float* y, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) { return add(v, load_part(y + i, n - i)); });
}

void mul_rows(const float* x, const float* y, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) { return mul(v, load_part(y + i, n - i)); });
}

// x + factor * y
void add_scaled(const float* x, const float* y, float factor, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) { return fma(load_part(y + i, n - i), set1(factor), v); });
}

void scale_row(const float* x, float factor, int n, float* out) {
    map_row(x, n, out, [&](int, f32x16 v) { return mul(v, set1(factor)); });
}

// cos_sin: dims / 2 cosines, then dims / 2 sines. Pairs are neighbours (norm) or halves (neox).
void rope_head(const float* x, int head_dim, RopeArgs rope, float factor, float* out) {
    const int half = rope.dims / 2;
    const float *c = rope.cos_sin, *s = rope.cos_sin + half;
    if (rope.neox) {
        for (int i = 0; i < half; ++i) {
            const float a = x[i], b = x[i + half];
            out[i] = (a * c[i] - b * s[i]) * factor;
            out[i + half] = (a * s[i] + b * c[i]) * factor;
        }
    } else {
        for (int i = 0; i < half; ++i) {
            const float a = x[2 * i], b = x[2 * i + 1];
            out[2 * i] = (a * c[i] - b * s[i]) * factor;
            out[2 * i + 1] = (a * s[i] + b * c[i]) * factor;
        }
    }
    for (int i = rope.dims; i < head_dim; ++i) out[i] = x[i] * factor;
}

}  // namespace
}  // namespace outpace
