// What sequences carry between steps: pages of keys and values. Programs that read one cache share it.
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

struct StateSpec {
    int n_pages;
    int kv_type;  // kF16 or kQ8_0
    std::vector<KVShape> kv;
};

size_t kv_page_bytes(const KVShape& shape, int kv_type);

class State {
  public:
    // All of its memory is brought in now, every thread a share: a run holds what was told, and no step waits for it.
    State(std::shared_ptr<Pool> pool, StateSpec spec);
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    KVLayer kv(int layer) const;
    void copy_page(int source, int target);

    const StateSpec& spec() const { return spec_; }

  private:
    std::shared_ptr<Pool> pool_;
    StateSpec spec_;
    std::vector<std::unique_ptr<Memory>> kv_;
};

}  // namespace outpace
