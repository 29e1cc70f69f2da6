// What a thread reads first of the next matrix, fetched into its second cache while it waits for the others.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outpace {

struct Ahead {
    // A part of any second cache.
    static constexpr size_t kMostBytes = 1 << 17;
    // As many tiles side by side as a product of few rows reads (kernels/linear.h).
    static constexpr int kTiles = 4;

    size_t instruction = 0;  // of the matrix
    const uint8_t* tiles = nullptr;
    size_t tile_bytes = 0, at = 0;
    int n_tiles = 0;

    // Asks for the next line of each tile; false when there is nothing left to ask for.
    bool fetch() {
        if (n_tiles <= 0) return false;
        for (int i = 0; i < kTiles && i < n_tiles; ++i)
            __builtin_prefetch(tiles + static_cast<size_t>(i) * tile_bytes + at, 0, 2);
        at += 64;
        if (at >= tile_bytes) {
            at = 0;
            tiles += kTiles * tile_bytes;
            n_tiles -= kTiles;
        }
        return true;
    }
};

}  // namespace outpace
