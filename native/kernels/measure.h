// What the machine can do at best, for `doctor` and for the share of peak that benchmarks print.
#pragma once

#include "kernels/simd_u8.h"

namespace outpace {
namespace {

// From four places at a time, as the linear kernels read: one alone does not keep the memory busy.
uint64_t read_bytes(const uint8_t* p, size_t n) {
    constexpr int kPlaces = 4;
    const size_t share = n / kPlaces / 64 * 64;
    i32x16 sums[kPlaces];
    for (i32x16& s : sums) s = set1_i32(0);
    for (size_t at = 0; at < share; at += 64)
        for (int i = 0; i < kPlaces; ++i) {
            const uint8_t* line = p + i * share + at;
            __builtin_prefetch(line + 4096, 0, 2);
            sums[i] = add(sums[i], load_i32(reinterpret_cast<const int32_t*>(line)));
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
            for (int i = 0; i < 16; ++i) sums[i] = dot4<false>(sums[i], i % 2 ? a : b, load_i8x4(x));
    for (int i = 1; i < 16; ++i) sums[0] = add(sums[0], sums[i]);
    store_i32(sink, sums[0]);
    return n * 64 * 64;
}

}  // namespace
}  // namespace outpace
