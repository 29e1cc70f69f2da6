// What sequences carry between steps: pages of keys and values, recurrent states. Programs that read one cache share
// it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/memory.h"
#include "core/pool.h"
#include "kernels/kernels.h"

namespace outpace {

struct KVShape {
    int n_kv_heads, head_dim;
};

struct RecurrentShape {
    int n_channels, kernel;                        // of the convolution
    int n_heads, n_key_heads, key_dim, value_dim;  // of the memory

    size_t columns() const { return (static_cast<size_t>(value_dim) + 15) / 16 * 16; }
};

struct StateSpec {
    int n_pages;
    int kv_type;  // kF16, kQ8_0 or kQ4_0
    std::vector<KVShape> kv;
    std::vector<RecurrentShape> recurrent;
    int n_slots, max_draft;
};

size_t kv_page_bytes(const KVShape& shape, int kv_type);
// One layer's state in one slot, with room for so many staged rows.
size_t recurrent_bytes(const RecurrentShape& shape, int max_draft);

// One layer's state in one slot.
struct Slot {
    float* memory;  // [n_heads], each in stretches of columns; see kernels/recurrent.h
    float* window;  // [kernel - 1][n_channels]: the convolution's last inputs
    // Of each staged row: the convolution's input, and the update of the memory.
    float *inputs, *k, *v, *decay, *beta;  // [max_draft][...]
};

class State {
  public:
    // All of its memory is brought in now, every thread a share: a run holds what was told, and no step waits for it.
    State(std::shared_ptr<Pool> pool, StateSpec spec);
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    KVLayer kv(int layer) const;
    Slot slot(int layer, int slot) const;
    void copy_page(int source, int target);
    // Copies a slot over all layers, what is staged there too. Throws std::invalid_argument if it has no state.
    void copy_slot(int source, int target);

    // Checks that a step goes on where its slots stopped. Throws std::invalid_argument.
    void check(std::span<const SegmentView> segments) const;
    // Notes where a step leaves its slots.
    void advance(std::span<const SegmentView> segments);

    const StateSpec& spec() const { return spec_; }

  private:
    std::shared_ptr<Pool> pool_;
    StateSpec spec_;
    std::vector<std::unique_ptr<Memory>> kv_, recurrent_;

    // Known positions that a slot's state has taken in, and rows staged after them.
    struct Reached {
        int position = -1, n_staged = 0;
    };
    std::vector<Reached> reached_;
};

}  // namespace outpace
