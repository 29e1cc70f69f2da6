// Packed weights: one arena for a whole model, filled tensor by tensor.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/memory.h"
#include "core/pool.h"
#include "kernels/kernels.h"

namespace outpace {

// One packed matrix inside an arena.
struct Weight {
    int type = 0;
    int n_rows = 0, n_cols = 0;
    size_t tile_bytes = 0;
    const uint8_t* tiles = nullptr;

    int n_tiles() const { return (n_rows + kTileRows - 1) / kTileRows; }
};

// A matrix as it lies in a file, to be packed.
struct Source {
    int type = 0;
    int n_rows = 0, n_cols = 0;
    const uint8_t* rows = nullptr;
    size_t row_bytes = 0;
    // Whole pages of a mapped file that may leave memory once the matrix is packed; they are read again if touched.
    const uint8_t* mapped = nullptr;
    size_t mapped_bytes = 0;
};

class WeightArena {
  public:
    WeightArena(const Kernels& kernels, std::shared_ptr<Pool> pool, size_t bytes)
        : kernels_(kernels), pool_(std::move(pool)), memory_(bytes) {}

    // Bytes a matrix will take, rounded up to 64; 0 when the type or width has no kernel.
    static size_t packed_bytes(const Kernels& kernels, int type, int n_rows, int n_cols);

    // Packs matrices one behind the other, all threads sharing the work. Throws std::length_error when the arena is
    // full and std::invalid_argument when a type has no kernel; then none is packed.
    std::vector<const Weight*> pack(const std::vector<Source>& sources);

    // A matrix of zeros, to be filled by take_rows.
    const Weight* reserve(int type, int n_rows, int n_cols);
    // Writes rows `ids` of `source` over the rows of `target` from `at` on, rounded to the target's type, Q4_0.
    // Nobody may be reading the target.
    void take_rows(const Weight& target, int at, const Weight& source, std::span<const int32_t> ids);

    const Kernels& kernels() const { return kernels_; }
    const std::shared_ptr<Pool>& pool() const { return pool_; }

  private:
    // Packs the tiles [first, last) of one matrix.
    void pack_tiles(const Source& source, const Weight& weight, int first, int last);

    const Kernels& kernels_;
    std::shared_ptr<Pool> pool_;
    Memory memory_;
    size_t used_ = 0;
    std::vector<std::unique_ptr<Weight>> weights_;
};

}  // namespace outpace
