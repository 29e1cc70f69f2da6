#include "core/weight.h"

#include <algorithm>
#include <stdexcept>

namespace outpace {

size_t WeightArena::packed_bytes(const Kernels& kernels, int type, int n_rows, int n_cols) {
    const size_t tiles = (static_cast<size_t>(n_rows) + kTileRows - 1) / kTileRows;
    return (tiles * kernels.tile_bytes(type, n_cols) + 63) / 64 * 64;
}

const Weight* WeightArena::pack(int type, int n_rows, int n_cols, const uint8_t* rows, size_t row_bytes) {
    const size_t bytes = packed_bytes(kernels_, type, n_rows, n_cols);
    if (bytes == 0) throw std::invalid_argument("no kernel for this weight type and width");
    if (used_ + bytes > memory_.size()) throw std::length_error("the weight arena is full");
    auto weight = std::make_unique<Weight>();
    *weight = {type, n_rows, n_cols, kernels_.tile_bytes(type, n_cols), memory_.data() + used_};
    uint8_t* tiles = memory_.data() + used_;
    used_ += bytes;
    std::atomic<int> next{0};
    const int n_tiles = weight->n_tiles();
    pool_->run([&](int) {
        for (int tile; (tile = next.fetch_add(1, std::memory_order_relaxed)) < n_tiles;) {
            const int first = tile * kTileRows;
            kernels_.pack_tile(type, rows + static_cast<size_t>(first) * row_bytes, row_bytes,
                               std::min(kTileRows, n_rows - first), n_cols, tiles + tile * weight->tile_bytes);
        }
    });
    weights_.push_back(std::move(weight));
    return weights_.back().get();
}

}  // namespace outpace
