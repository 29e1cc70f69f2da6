#include "core/weight.h"

#include <sys/mman.h>

#include <algorithm>
#include <stdexcept>

namespace outpace {
namespace {

// What a thread takes at a time: a huge page of the arena, so that no two threads bring in the same one.
constexpr uintptr_t kShareBytes = uintptr_t{2} << 20;

}  // namespace

size_t WeightArena::packed_bytes(const Kernels& kernels, int type, int n_rows, int n_cols) {
    const size_t tiles = (static_cast<size_t>(n_rows) + kTileRows - 1) / kTileRows;
    return (tiles * kernels.tile_bytes(type, n_cols) + 63) / 64 * 64;
}

std::vector<const Weight*> WeightArena::pack(const std::vector<Source>& sources) {
    size_t end = used_;
    std::vector<std::unique_ptr<Weight>> made;
    std::vector<std::atomic<int>> left(sources.size());  // tiles of each matrix that are not packed yet
    std::vector<std::pair<size_t, int>> shares;          // where each begins: matrix and tile
    uintptr_t page = 0;
    for (size_t i = 0; i < sources.size(); ++i) {
        const Source& source = sources[i];
        const size_t bytes = packed_bytes(kernels_, source.type, source.n_rows, source.n_cols);
        if (bytes == 0) throw std::invalid_argument("no kernel for this weight type and width");
        if (end + bytes > memory_.size()) throw std::length_error("the weight arena is full");
        const size_t tile_bytes = kernels_.tile_bytes(source.type, source.n_cols);
        made.push_back(std::make_unique<Weight>(
            Weight{source.type, source.n_rows, source.n_cols, tile_bytes, memory_.data() + end}));
        left[i] = made[i]->n_tiles();
        for (int tile = 0; tile < made[i]->n_tiles(); ++tile) {
            const uintptr_t at = reinterpret_cast<uintptr_t>(made[i]->tiles + static_cast<size_t>(tile) * tile_bytes);
            if (shares.empty() || at / kShareBytes != page) shares.emplace_back(i, tile);
            page = at / kShareBytes;
        }
        end += bytes;
    }
    shares.emplace_back(sources.size(), 0);
    std::atomic<size_t> next{0};
    pool_->run([&](int) {
        for (size_t share; (share = next.fetch_add(1, std::memory_order_relaxed)) + 1 < shares.size();) {
            auto [i, tile] = shares[share];
            for (const auto stop = shares[share + 1]; std::pair(i, tile) < stop; ++i, tile = 0) {
                const int last = i == stop.first ? stop.second : made[i]->n_tiles();
                pack_tiles(sources[i], *made[i], tile, last);
                if (left[i].fetch_sub(last - tile, std::memory_order_acq_rel) == last - tile && sources[i].mapped)
                    madvise(const_cast<uint8_t*>(sources[i].mapped), sources[i].mapped_bytes, MADV_DONTNEED);
            }
        }
    });
    used_ = end;
    std::vector<const Weight*> found;
    for (std::unique_ptr<Weight>& weight : made) {
        found.push_back(weight.get());
        weights_.push_back(std::move(weight));
    }
    return found;
}

void WeightArena::pack_tiles(const Source& source, const Weight& weight, int first, int last) {
    for (int tile = first; tile < last; ++tile) {
        const int row = tile * kTileRows;
        kernels_.pack_tile(source.type, source.rows + static_cast<size_t>(row) * source.row_bytes, source.row_bytes,
                           std::min(kTileRows, source.n_rows - row), source.n_cols,
                           const_cast<uint8_t*>(weight.tiles) + static_cast<size_t>(tile) * weight.tile_bytes);
    }
}

}  // namespace outpace
