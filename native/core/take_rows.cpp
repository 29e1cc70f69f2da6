// Rows of one packed matrix written over rows of another, which is Q4_0: how a draft head gets its vocabulary.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "core/weight.h"

namespace outpace {
namespace {

constexpr size_t kBlockBytes = 18;

// IEEE half, to nearest even; magnitudes here are finite and far from overflow, or the row is useless anyway.
uint16_t to_half(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    const float magnitude = std::fabs(x);
    if (!(magnitude < 65520.0f)) return static_cast<uint16_t>(sign | 0x7bffu);
    if (magnitude < 6.103515625e-5f)  // subnormal: units of 2^-24
        return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 16777216.0f)));
    std::memcpy(&bits, &magnitude, sizeof bits);
    bits += 0xfffu + (bits >> 13 & 1u);
    return static_cast<uint16_t>(sign | static_cast<uint16_t>((bits >> 13) - (112u << 10)));
}

// ggml's Q4_0: 32 values as d * (code - 8), with the largest magnitude at code 0.
void round_block(const float* x, uint8_t* block) {
    float largest = 0.0f;
    for (int i = 0; i < kBlock; ++i)
        if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
    const float d = largest / -8.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    const uint16_t half = to_half(d);
    std::memcpy(block, &half, sizeof half);
    for (int i = 0; i < 16; ++i) {
        const auto code = [&](float value) {
            return static_cast<uint8_t>(std::clamp(static_cast<int>(value * inverse + 8.5f), 0, 15));
        };
        block[2 + i] = static_cast<uint8_t>(code(x[i]) | code(x[i + 16]) << 4);
    }
}

}  // namespace

void WeightArena::take_rows(const Weight& target, int at, const Weight& source, std::span<const int32_t> ids) {
    if (target.type != kQ4_0) throw std::invalid_argument("rows are taken into Q4_0 alone");
    if (target.n_cols != source.n_cols) throw std::invalid_argument("rows of another width");
    const int end = at + static_cast<int>(ids.size());
    if (at < 0 || end > target.n_rows) throw std::invalid_argument("row out of range");
    for (const int32_t id : ids)
        if (id < 0 || id >= source.n_rows) throw std::invalid_argument("row out of range");
    const size_t n_cols = static_cast<size_t>(target.n_cols), row_bytes = n_cols / kBlock * kBlockBytes;
    const int first = at / kTileRows, last = (end + kTileRows - 1) / kTileRows;
    std::atomic<int> next{first};
    const auto take_tiles = [&](int) {
        std::vector<float> values(n_cols);
        std::vector<uint8_t> blocks(row_bytes);
        for (int tile; (tile = next.fetch_add(1, std::memory_order_relaxed)) < last;) {
            auto* tiles = const_cast<uint8_t*>(target.tiles) + static_cast<size_t>(tile) * target.tile_bytes;
            const int begin = std::max(at, tile * kTileRows), stop = std::min(end, (tile + 1) * kTileRows);
            for (int index = begin; index < stop; ++index) {
                const int id = ids[static_cast<size_t>(index - at)];
                kernels_.unpack_row(source.type, source.tiles + static_cast<size_t>(id / kTileRows) * source.tile_bytes,
                                    id % kTileRows, source.n_cols, values.data());
                for (size_t b = 0; b < n_cols / kBlock; ++b)
                    round_block(values.data() + b * kBlock, blocks.data() + b * kBlockBytes);
                kernels_.put_row(target.type, blocks.data(), index % kTileRows, target.n_cols, tiles);
            }
        }
    };
    // The team takes longer to wake than a few rows to write.
    if (ids.size() < kTileRows)
        take_tiles(0);
    else
        pool_->run(take_tiles);
}

const Weight* WeightArena::reserve(int type, int n_rows, int n_cols) {
    const size_t bytes = packed_bytes(kernels_, type, n_rows, n_cols);
    if (bytes == 0) throw std::invalid_argument("no kernel for this weight type and width");
    if (used_ + bytes > memory_.size()) throw std::length_error("the weight arena is full");
    weights_.push_back(std::make_unique<Weight>(
        Weight{type, n_rows, n_cols, kernels_.tile_bytes(type, n_cols), memory_.data() + used_}));
    used_ += bytes;
    return weights_.back().get();
}

}  // namespace outpace
