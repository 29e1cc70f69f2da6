// GGUF blocks to tiles and back. See formats.h for the layouts.
#pragma once

#include "kernels/formats.h"

namespace outpace {
namespace {

// Bytes of one block in a GGUF file.
constexpr size_t disk_bytes(int type) {
    switch (type) {
        case kQ4_0:
            return 18;
        case kQ4_1:
            return 20;
        case kQ5_0:
            return 22;
        case kQ5_1:
            return 24;
        case kQ8_0:
            return 34;
        case kQ4_K:
            return 144;
        case kQ5_K:
            return 176;
        case kQ6_K:
            return 210;
        default:
            return 0;
    }
}

size_t tile_bytes(int type, int n_cols) {
    return with_format(
        type,
        [&](auto f) -> size_t {
            using F = decltype(f);
            return n_cols % F::kValues ? 0 : static_cast<size_t>(n_cols / F::kValues) * F::kBytes;
        },
        [&](auto f) -> size_t { return decltype(f)::kValueBytes * kTileRows * static_cast<size_t>(n_cols); },
        []() -> size_t { return 0; });
}

// Vector v of the tile block gets bytes [4 v, 4 v + 4) of each row's plane.
OUTPACE_INLINE void put_plane(uint8_t* block, int row, const uint8_t* plane, int n_vectors, uint8_t flip = 0) {
    for (int v = 0; v < n_vectors; ++v)
        for (int j = 0; j < 4; ++j) block[64 * v + 4 * row + j] = plane[4 * v + j] ^ flip;
}

OUTPACE_INLINE void put_u16(uint8_t* at, int row, const uint8_t* value) { std::memcpy(at + 2 * row, value, 2); }

// Bit 4 i + j of a row's 32 high bits becomes bit i of byte j.
OUTPACE_INLINE void put_high_bits(uint8_t* vector, int row, const uint8_t* bits) {
    uint32_t all;
    std::memcpy(&all, bits, 4);
    for (int j = 0; j < 4; ++j) {
        uint32_t x = (all >> j) & 0x11111111u;
        x = (x | x >> 3) & 0x03030303u;
        x = (x | x >> 6) & 0x000f000fu;
        vector[4 * row + j] = static_cast<uint8_t>((x | x >> 12) & 0xffu);
    }
}

// Sixteen codes of six bits in three bytes for each four: three codes below, the fourth's pairs of bits above them.
OUTPACE_INLINE void put_six_bits(uint8_t* vectors, int row, const uint8_t (&q)[16]) {
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 4; ++j)
            vectors[64 * i + 4 * row + j] = static_cast<uint8_t>(q[4 * i + j] | (q[12 + j] >> (2 * i) & 3) << 6);
}

OUTPACE_INLINE void pack_block(int type, const uint8_t* src, int row, uint8_t* block) {
    switch (type) {
        case kQ4_0:
            put_u16(block + Q4_0::kScales, row, src);
            put_plane(block, row, src + 2, 4);
            break;
        case kQ4_1:
            put_u16(block + Q4_1::kScales, row, src);
            put_u16(block + Q4_1::kScales + 32, row, src + 2);
            put_plane(block, row, src + 4, 4);
            break;
        case kQ5_0:
            put_u16(block + Q5_0::kScales, row, src);
            put_high_bits(block + Q5_0::kHigh, row, src + 2);
            put_plane(block, row, src + 6, 4);
            break;
        case kQ5_1:
            put_u16(block + Q5_1::kScales, row, src);
            put_u16(block + Q5_1::kScales + 32, row, src + 2);
            put_high_bits(block + Q5_1::kHigh, row, src + 4);
            put_plane(block, row, src + 8, 4);
            break;
        case kQ8_0:
            put_u16(block + Q8_0::kScales, row, src);
            put_plane(block, row, src + 2, 8, 0x80);
            break;
        case kQ4_K:
        case kQ5_K: {
            const size_t scales = type == kQ4_K ? Q4_K::kScales : Q5_K::kScales;
            put_u16(block + scales, row, src);
            put_u16(block + scales + 32, row, src + 2);
            for (int i = 0; i < 12; ++i) block[scales + 64 + 16 * i + row] = src[4 + i];
            for (int sub = 0; type == kQ5_K && sub < 8; ++sub) {
                uint8_t bits[4] = {};
                for (int l = 0; l < 32; ++l)
                    bits[l / 8] = static_cast<uint8_t>(bits[l / 8] | ((src[16 + l] >> sub) & 1) << (l % 8));
                put_high_bits(block + Q5_K::kHigh + 64 * sub, row, bits);
            }
            put_plane(block + Q4_K::kNibbles, row, src + (type == kQ4_K ? 16 : 48), 32);
            break;
        }
        case kQ6_K:
            for (int half = 0; half < 16; ++half) {
                const int sub = half / 2, at = 16 * (half % 2);
                const uint8_t* nibbles = src + 64 * (sub / 4) + 32 * (sub % 2) + at;
                const uint8_t* high = src + 128 + 32 * (sub / 4) + at;
                uint8_t q[16];
                for (int l = 0; l < 16; ++l)
                    q[l] = static_cast<uint8_t>((sub % 4 < 2 ? nibbles[l] & 15 : nibbles[l] >> 4) |
                                                (high[l] >> (2 * (sub % 4)) & 3) << 4);
                put_six_bits(block + Q6_K::kCodes + Q6_K::kHalf * half, row, q);
            }
            for (int i = 0; i < 16; ++i) block[Q6_K::kScales + 16 * i + row] = src[192 + i];
            put_u16(block + Q6_K::kD, row, src + 208);
            break;
        default:
            break;
    }
}

// Writes one row of a tile and no byte of another's.
void put_row(int type, const uint8_t* src, int row, int n_cols, uint8_t* tile) {
    with_format(
        type,
        [&](auto f) {
            using F = decltype(f);
            for (int b = 0; b < n_cols / F::kValues; ++b)
                pack_block(type, src + b * disk_bytes(type), row, tile + b * F::kBytes);
        },
        [&](auto f) {
            constexpr size_t size = decltype(f)::kValueBytes;
            for (int k = 0; k < n_cols; ++k) std::memcpy(tile + (k * kTileRows + row) * size, src + k * size, size);
        },
        [] {});
}

void pack_tile(int type, const uint8_t* rows, size_t row_bytes, int n_rows, int n_cols, uint8_t* tile) {
    std::memset(tile, 0, tile_bytes(type, n_cols));
    with_format(
        type,
        [&](auto f) {
            using F = decltype(f);
            const int n_blocks = n_cols / F::kValues;
            for (int b = 0; b < n_blocks; ++b)
                for (int row = 0; row < n_rows; ++row)
                    pack_block(type, rows + row * row_bytes + b * disk_bytes(type), row, tile + b * F::kBytes);
        },
        [&](auto f) {
            constexpr size_t size = decltype(f)::kValueBytes;
            for (int k = 0; k < n_cols; ++k)
                for (int row = 0; row < n_rows; ++row)
                    std::memcpy(tile + (k * kTileRows + row) * size, rows + row * row_bytes + k * size, size);
        },
        [] {});
}

// One row of a tile as floats: w = d (q - offset), or d q + m.
void unpack_row(int type, const uint8_t* tile, int row, int n_cols, float* out) {
    with_format(
        type,
        [&](auto f) {
            using F = decltype(f);
            constexpr int offset = F::kOffsetShift < 0 ? 0 : 8 << (F::kOffsetShift < 0 ? 0 : F::kOffsetShift);
            alignas(64) uint8_t q[64];
            alignas(64) float d[16], m[16];
            for (int k = 0; k < n_cols; k += F::kValues, tile += F::kBytes) {
                const auto prepared = F::prepare(tile);
                for (int sub = 0; sub < F::kSubs; ++sub) {
                    const Factors factors = F::factors(tile, prepared, sub);
                    store(d, factors.d);
                    store(m, factors.m);
                    unroll<8>([&](auto quad_index) {
                        constexpr int I = decltype(quad_index)::value;
                        store_u8x64(q, sub % 2 == 0 ? F::template quad<0, I>(tile, sub / 2)
                                                    : F::template quad<1, I>(tile, sub / 2));
                        const float scale = I * F::kRuns < 8 ? d[row] : m[row];
                        for (int j = 0; j < 4; ++j) {
                            const float value = scale * static_cast<float>(q[4 * row + j] - offset);
                            out[k + 32 * sub + 4 * I + j] = F::kMin ? value + m[row] : value;
                        }
                    });
                }
            }
        },
        [&](auto f) {
            using F = decltype(f);
            alignas(64) float column[16];
            for (int k = 0; k < n_cols; ++k) {
                store(column, F::column(tile + k * F::kValueBytes * kTileRows));
                out[k] = column[row];
            }
        },
        [] {});
}

}  // namespace
}  // namespace outpace
