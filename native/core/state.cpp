#include "core/state.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace outpace {

constexpr int kPage = 64;

size_t kv_page_bytes(const KVShape& shape, int kv_type) {
    const size_t values = static_cast<size_t>(shape.head_dim) * kPage;
    const size_t blocks = (static_cast<size_t>(shape.head_dim) + kBlock - 1) / kBlock;
    const size_t head = kv_type == kF16    ? values * 2
                        : kv_type == kQ8_0 ? values + blocks * kPage * 2
                                           : values / 2 + blocks * kPage * 2;
    return 2 * head * static_cast<size_t>(shape.n_kv_heads);
}

State::State(std::shared_ptr<Pool> pool, StateSpec spec) : pool_(std::move(pool)), spec_(std::move(spec)) {
    for (const KVShape& shape : spec_.kv)
        kv_.push_back(
            std::make_unique<Memory>(kv_page_bytes(shape, spec_.kv_type) * static_cast<size_t>(spec_.n_pages)));
    for (const auto& memory : kv_) memory->make_resident(*pool_);
}

KVLayer State::kv(int layer) const {
    const KVShape& shape = spec_.kv[static_cast<size_t>(layer)];
    return {kv_[static_cast<size_t>(layer)]->data(), kv_page_bytes(shape, spec_.kv_type), shape.n_kv_heads,
            shape.head_dim, spec_.kv_type};
}

void State::copy_page(int source, int target) {
    if (std::min(source, target) < 0 || std::max(source, target) >= spec_.n_pages)
        throw std::invalid_argument("page out of range");
    for (size_t i = 0; i < kv_.size(); ++i) {
        const size_t bytes = kv_page_bytes(spec_.kv[i], spec_.kv_type);
        std::memcpy(kv_[i]->data() + bytes * static_cast<size_t>(target),
                    kv_[i]->data() + bytes * static_cast<size_t>(source), bytes);
    }
}

}  // namespace outpace
