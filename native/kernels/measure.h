// What the machine can do at best, for `doctor` and for the share of peak that benchmarks print.
#pragma once

#include "kernels/simd_u8.h"

namespace outpace {
namespace {

uint64_t read_bytes(const uint8_t* p, size_t n) {
    i32x16 sums[4] = {set1_i32(0), set1_i32(0), set1_i32(0), set1_i32(0)};
    for (size_t i = 0; i + 256 <= n; i += 256) {
        __builtin_prefetch(p + i + 4096, 0, 2);
        __builtin_prefetch(p + i + 4160, 0, 2);
        __builtin_prefetch(p + i + 4224, 0, 2);
        __builtin_prefetch(p + i + 4288, 0, 2);
        for (int j = 0; j < 4; ++j) sums[j] = add(sums[j], load_i32(reinterpret_cast<const int32_t*>(p + i + 64 * j)));
    }
    int32_t lanes[16];
    store_i32(lanes, add(add(sums[0], sums[1]), add(sums[2], sums[3])));
    uint64_t total = 0;
    for (int32_t lane : lanes) total += static_cast<uint32_t>(lane);
    return total;
}

uint64_t integer_rounds(uint64_t n, int32_t* sink) {
    alignas(64) uint8_t bytes[64 * 2];
    alignas(4) int8_t x[4] = {1, -2, 3, -4};
    for (int i = 0; i < 128; ++i) bytes[i] = static_cast<uint8_t>(i & 15);
    i32x16 sums[16];  // enough chains to hide the latency of a product
    for (i32x16& s : sums) s = set1_i32(0);
    const u8x64 a = load_u8x64(bytes), b = load_u8x64(bytes + 64);
    for (uint64_t round = 0; round < n; ++round)
        for (int k = 0; k < 4; ++k)
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) sums[i] = dot4<false>(sums[i], i % 2 ? a : b, x);
    for (int i = 1; i < 16; ++i) sums[0] = add(sums[0], sums[i]);
    store_i32(sink, sums[0]);
    return n * 64 * 64;
}

}  // namespace
}  // namespace outpace
