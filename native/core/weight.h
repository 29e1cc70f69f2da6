// Packed weights: one arena for a whole model, filled tensor by tensor.
#pragma once

#include <memory>
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

class WeightArena {
  public:
    WeightArena(const Kernels& kernels, std::shared_ptr<Pool> pool, size_t bytes)
        : kernels_(kernels), pool_(std::move(pool)), memory_(bytes) {}

    // Bytes a matrix will take, rounded up to 64; 0 when the type or width has no kernel.
    static size_t packed_bytes(const Kernels& kernels, int type, int n_rows, int n_cols);

    // Packs n_rows x n_cols from GGUF rows that lie row_bytes apart. Throws std::length_error when the arena is full
    // and std::invalid_argument when the type has no kernel.
    const Weight* pack(int type, int n_rows, int n_cols, const uint8_t* rows, size_t row_bytes);

    const Kernels& kernels() const { return kernels_; }
    const std::shared_ptr<Pool>& pool() const { return pool_; }

  private:
    const Kernels& kernels_;
    std::shared_ptr<Pool> pool_;
    Memory memory_;
    size_t used_ = 0;
    std::vector<std::unique_ptr<Weight>> weights_;
};

}  // namespace outpace
