// Packed weights: how each quantised type lies in a tile of 16 rows, and how it is unpacked.
//
// A tile is one run of blocks along k. Inside a block, byte 4 r + j of a 64-byte vector belongs to row r and value
// 4 i + j of "quad" i; a block (or sub-block) of 32 values is eight quads. Weights are unsigned; the offset of a signed
// type is taken back by the integer start value, which comes from the activations' sums. All sums are exact.
//
//   type   bytes a block of 16 rows                                  bits a weight
//   Q4_0   4 vectors (low nibbles quads 0-3, high 4-7), 16 f16 d     4.5
//   Q4_1   the same, 16 f16 d, 16 f16 m                              5
//   Q5_0/1 as Q4, then 1 vector of high bits (bit i for quad i)      5.5 / 6
//   Q8_0   8 vectors (value + 128), 16 f16 d                         8.5
//   Q4_K   16 f16 d, 16 f16 dmin, 192 bytes of 6-bit scales, 32 vectors (8 for a pair of sub-blocks: low nibbles the
//          first, high the second)                                    4.5
//   Q5_K   the same, and after the nibbles 8 vectors of high bits (one a sub-block, bit i for quad i)     5.5
//   Q6_K   16 x 16 int8 scales, 16 f16 d, 48 vectors of codes (three for the four quads of a half sub-block: each has
//          one of the first three in its lower six bits, and two bits of the fourth above them)      6.5625
//
// Source of the unpacked formats: ggml's block definitions (GGUF specification).
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd_u8.h"

namespace outpace {
namespace {

// Formats give quad<P, I>(block, pair): quad I of sub-block 2 pair + P. Blocks of 32 have one sub-block, pair 0, P 0. A
// sub-block has one run of codes with a scale, or two of 16. Where kRaised, products may take raised_quad<I> and
// raised_factors for the sub-blocks with P 1: 16 times the codes and a 16th of the d, so the same numbers throughout.

// Factors of one sub-block of 32 for 16 rows: w = d * q + m; where it has two runs, m is the d of the second.
struct Factors {
    f32x16 d, m;
};

struct NoPrepared {};

// Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 values.
template <bool HighBit, bool Min>
struct Simple4 {
    static constexpr int kValues = 32, kSubs = 1;
    static constexpr bool kWide = false, kMin = Min, kRaised = false;
    static constexpr int kRuns = 1;
    static constexpr int kOffsetShift = Min ? -1 : (HighBit ? 1 : 0);  // offset 8 << shift; -1 for none
    static constexpr size_t kHigh = 256, kScales = HighBit ? 320 : 256;
    static constexpr size_t kBytes = kScales + (Min ? 64 : 32);
    using Prepared = NoPrepared;

    static OUTPACE_INLINE Prepared prepare(const uint8_t*) { return {}; }
    template <int P, int I>
    static OUTPACE_INLINE u8x64 quad(const uint8_t* block, int) {
        const u8x64 v = load_u8x64(block + 64 * (I % 4));
        const u8x64 q = I < 4 ? low_nibbles(v) : high_nibbles(v);
        if constexpr (!HighBit) return q;
        return bits_or_masked(q, shift_right<I - 4>(load_u8x64(block + kHigh)), 0x10);
    }
    static OUTPACE_INLINE Factors factors(const uint8_t* block, const Prepared&, int) {
        const auto* scale = reinterpret_cast<const uint16_t*>(block + kScales);
        return {load_f16(scale), Min ? load_f16(scale + 16) : zero()};
    }
};

struct Simple8 {
    static constexpr int kValues = 32, kSubs = 1;
    static constexpr bool kWide = true, kMin = false, kRaised = false;
    static constexpr int kRuns = 1;
    static constexpr int kOffsetShift = 4;
    static constexpr size_t kScales = 512, kBytes = 544;
    using Prepared = NoPrepared;

    static OUTPACE_INLINE Prepared prepare(const uint8_t*) { return {}; }
    template <int P, int I>
    static OUTPACE_INLINE u8x64 quad(const uint8_t* block, int) {
        return load_u8x64(block + 64 * I);
    }
    static OUTPACE_INLINE Factors factors(const uint8_t* block, const Prepared&, int) {
        return {load_f16(reinterpret_cast<const uint16_t*>(block + kScales)), zero()};
    }
};

// Q4_K and Q5_K: 256 values in eight sub-blocks with 6-bit scales and minima.
template <bool HighBit>
struct Super45 {
    static constexpr int kValues = 256, kSubs = 8;
    static constexpr bool kWide = false, kMin = true, kRaised = !HighBit && kAnyBytes;
    static constexpr int kRuns = 1;
    static constexpr int kOffsetShift = -1;
    // Read first, so they lie first: the memory is read from front to back.
    static constexpr size_t kScales = 0, kNibbles = 256, kHigh = 2304, kBytes = HighBit ? 2816 : 2304;
    // scale[s][row], minimum[s][row]
    struct Prepared {
        alignas(64) uint8_t scale[128], minimum[128];
        f32x16 d, raised_d, dmin;
    };

    // The twelve scale bytes lie as three vectors of [4][16 rows]: s0-3 | m0-3 | (s4-7 low, m4-7 low), top bits shared.
    static OUTPACE_INLINE Prepared prepare(const uint8_t* block) {
        Prepared p;
        const auto* f = reinterpret_cast<const uint16_t*>(block + kScales);
        p.d = load_f16(f);
        p.raised_d = mul(p.d, set1(1.0f / 16.0f));
        p.dmin = sub(zero(), load_f16(f + 16));
        const u8x64 a = load_u8x64(block + kScales + 64), b = load_u8x64(block + kScales + 128),
                    c = load_u8x64(block + kScales + 192);
        store_u8x64(p.scale, bits_and(a, 0x3f));
        store_u8x64(p.minimum, bits_and(b, 0x3f));
        store_u8x64(p.scale + 64, bits_or(low_nibbles(c), bits_and(shift_right<2>(a), 0x30)));
        store_u8x64(p.minimum + 64, bits_or(high_nibbles(c), bits_and(shift_right<2>(b), 0x30)));
        return p;
    }
    template <int P, int I>
    static OUTPACE_INLINE u8x64 quad(const uint8_t* block, int pair) {
        const u8x64 v = load_u8x64(block + kNibbles + 512 * pair + 64 * I);
        const u8x64 q = P == 0 ? low_nibbles(v) : high_nibbles(v);
        if constexpr (!HighBit) return q;
        return bits_or_masked(q, shift_right<I - 4>(load_u8x64(block + kHigh + 64 * (2 * pair + P))), 0x10);
    }
    static OUTPACE_INLINE Factors factors(const uint8_t*, const Prepared& p, int sub) {
        return {mul(p.d, load_u8(p.scale + 16 * sub)), mul(p.dmin, load_u8(p.minimum + 16 * sub))};
    }
    // High nibbles where they lie: that saves a shift.
    template <int I>
    static OUTPACE_INLINE u8x64 raised_quad(const uint8_t* block, int pair) {
        return bits_and(load_u8x64(block + kNibbles + 512 * pair + 64 * I), 0xf0);
    }
    static OUTPACE_INLINE Factors raised_factors(const Prepared& p, int sub) {
        return {mul(p.raised_d, load_u8(p.scale + 16 * sub)), mul(p.dmin, load_u8(p.minimum + 16 * sub))};
    }
};

// Q6_K: 256 values, 16 runs of 16 values.
struct Super6 {
    static constexpr int kValues = 256, kSubs = 8;
    static constexpr bool kWide = false, kMin = false, kRaised = false;
    static constexpr int kRuns = 2;
    static constexpr int kOffsetShift = 2;
    static constexpr size_t kScales = 0, kD = 256, kCodes = 288, kHalf = 192, kBytes = 3360;
    struct Prepared {
        f32x16 d;
    };

    static OUTPACE_INLINE Prepared prepare(const uint8_t* block) {
        return {load_f16(reinterpret_cast<const uint16_t*>(block + kD))};
    }
    template <int P, int I>
    static OUTPACE_INLINE u8x64 quad(const uint8_t* block, int pair) {
        const uint8_t* half = block + kCodes + kHalf * (4 * pair + 2 * P + I / 4);
        if constexpr (I % 4 < 3) return bits_and(load_u8x64(half + 64 * (I % 4)), 0x3f);
        const u8x64 low = bits_and(shift_right<6>(load_u8x64(half)), 0x03);
        const u8x64 middle = bits_or_masked(low, shift_right<4>(load_u8x64(half + 64)), 0x0c);
        return bits_or_masked(middle, shift_right<2>(load_u8x64(half + 128)), 0x30);
    }
    static OUTPACE_INLINE Factors factors(const uint8_t* block, const Prepared& p, int sub) {
        const auto* scale = reinterpret_cast<const int8_t*>(block + kScales + 32 * sub);
        return {mul(p.d, load_i8(scale)), mul(p.d, load_i8(scale + 16))};
    }
};

using Q4_0 = Simple4<false, false>;
using Q4_1 = Simple4<false, true>;
using Q5_0 = Simple4<true, false>;
using Q5_1 = Simple4<true, true>;
using Q8_0 = Simple8;
using Q4_K = Super45<false>;
using Q5_K = Super45<true>;
using Q6_K = Super6;

// Sixteen rows of unquantised weights: [k][16].
struct F32 {
    static constexpr size_t kValueBytes = 4;
    static OUTPACE_INLINE f32x16 column(const uint8_t* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct F16 {
    static constexpr size_t kValueBytes = 2;
    static OUTPACE_INLINE f32x16 column(const uint8_t* p) { return load_f16(reinterpret_cast<const uint16_t*>(p)); }
};
struct BF16 {
    static constexpr size_t kValueBytes = 2;
    static OUTPACE_INLINE f32x16 column(const uint8_t* p) { return load_bf16(reinterpret_cast<const uint16_t*>(p)); }
};

// Calls f with the format of a type; `otherwise` for a type that has none.
template <class Quantised, class Plain, class Otherwise>
OUTPACE_INLINE auto with_format(int type, Quantised&& quantised, Plain&& plain, Otherwise&& otherwise) {
    switch (type) {
        case kQ4_0:
            return quantised(Q4_0{});
        case kQ4_1:
            return quantised(Q4_1{});
        case kQ5_0:
            return quantised(Q5_0{});
        case kQ5_1:
            return quantised(Q5_1{});
        case kQ8_0:
            return quantised(Q8_0{});
        case kQ4_K:
            return quantised(Q4_K{});
        case kQ5_K:
            return quantised(Q5_K{});
        case kQ6_K:
            return quantised(Q6_K{});
        case kF32:
            return plain(F32{});
        case kF16:
            return plain(F16{});
        case kBF16:
            return plain(BF16{});
        default:
            return otherwise();
    }
}

}  // namespace
}  // namespace outpace
