#include "core/state.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace outpace {

namespace {

constexpr int kPage = 64;

size_t aligned(size_t n_floats) { return (n_floats + 15) / 16 * 16; }

// Floats of each part of a slot, in the order of `Slot`.
struct Parts {
    size_t memory, window, inputs, k, v, decay, beta;

    Parts(const RecurrentShape& s, int max_draft) {
        const size_t heads = static_cast<size_t>(s.n_heads), channels = static_cast<size_t>(s.n_channels);
        const size_t n = static_cast<size_t>(max_draft);
        memory = heads * s.columns() * static_cast<size_t>(s.key_dim);
        window = aligned(static_cast<size_t>(s.kernel - 1) * channels);
        inputs = aligned(n * channels);
        k = aligned(n * static_cast<size_t>(s.n_key_heads * s.key_dim));
        v = aligned(n * static_cast<size_t>(s.n_heads * s.value_dim));
        decay = beta = aligned(n * heads);
    }
    size_t total() const { return memory + window + inputs + k + v + decay + beta; }
};

void refuse(bool is_wrong, const std::string& why) {
    if (is_wrong) throw std::invalid_argument(why);
}

}  // namespace

size_t kv_page_bytes(const KVShape& shape, int kv_type) {
    const size_t values = static_cast<size_t>(shape.head_dim) * kPage;
    const size_t blocks = (static_cast<size_t>(shape.head_dim) + kBlock - 1) / kBlock;
    const size_t head = kv_type == kF16    ? values * 2
                        : kv_type == kQ8_0 ? values + blocks * kPage * 2
                                           : values / 2 + blocks * kPage * 2;
    return 2 * head * static_cast<size_t>(shape.n_kv_heads);
}

size_t recurrent_bytes(const RecurrentShape& shape, int max_draft) {
    return Parts(shape, max_draft).total() * sizeof(float);
}

State::State(std::shared_ptr<Pool> pool, StateSpec spec) : pool_(std::move(pool)), spec_(std::move(spec)) {
    for (const KVShape& shape : spec_.kv)
        kv_.push_back(
            std::make_unique<Memory>(kv_page_bytes(shape, spec_.kv_type) * static_cast<size_t>(spec_.n_pages)));
    for (const RecurrentShape& shape : spec_.recurrent)
        recurrent_.push_back(
            std::make_unique<Memory>(recurrent_bytes(shape, spec_.max_draft) * static_cast<size_t>(spec_.n_slots)));
    for (const auto& memory : kv_) memory->make_resident(*pool_);
    for (const auto& memory : recurrent_) memory->make_resident(*pool_);
    reached_.resize(static_cast<size_t>(spec_.n_slots));
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

Slot State::slot(int layer, int slot) const {
    const Parts parts(spec_.recurrent[static_cast<size_t>(layer)], spec_.max_draft);
    float* at = reinterpret_cast<float*>(recurrent_[static_cast<size_t>(layer)]->data()) +
                parts.total() * static_cast<size_t>(slot);
    const auto next = [&at](size_t n) { return std::exchange(at, at + n); };
    Slot found;
    found.memory = next(parts.memory);
    found.window = next(parts.window);
    found.inputs = next(parts.inputs);
    found.k = next(parts.k);
    found.v = next(parts.v);
    found.decay = next(parts.decay);
    found.beta = next(parts.beta);
    return found;
}

void State::copy_slot(int source, int target) {
    refuse(std::min(source, target) < 0 || std::max(source, target) >= spec_.n_slots, "slot out of range");
    if (spec_.recurrent.empty() || source == target) return;
    const Reached reached = reached_[static_cast<size_t>(source)];
    refuse(reached.position < 0, "slot " + std::to_string(source) + " has no state to copy");
    std::atomic<size_t> next{0};
    pool_->run([&](int) {
        for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < recurrent_.size();) {
            const size_t bytes = recurrent_bytes(spec_.recurrent[i], spec_.max_draft);
            std::memcpy(recurrent_[i]->data() + bytes * static_cast<size_t>(target),
                        recurrent_[i]->data() + bytes * static_cast<size_t>(source), bytes);
        }
    });
    reached_[static_cast<size_t>(target)] = reached;
}

void State::check(std::span<const SegmentView> segments) const {
    if (spec_.recurrent.empty()) return;
    for (size_t i = 0; i < segments.size(); ++i) {
        const SegmentView& s = segments[i];
        const std::string slot = "slot " + std::to_string(s.slot);
        refuse(s.slot < 0 || s.slot >= spec_.n_slots, slot + " is out of range");
        for (size_t other = 0; other < i; ++other) refuse(segments[other].slot == s.slot, "two segments share " + slot);
        refuse(s.n_draft < 0 || s.n_draft > std::min(s.n_rows, spec_.max_draft),
               std::to_string(s.n_draft) + " guesses, room for " + std::to_string(spec_.max_draft));
        if (s.start == 0) {
            refuse(s.n_pending != 0, "a new sequence has nothing pending");
            continue;
        }
        const Reached& at = reached_[static_cast<size_t>(s.slot)];
        refuse(at.position < 0, slot + " has no state at position " + std::to_string(s.start));
        refuse(s.n_pending < 0 || s.n_pending > at.n_staged,
               std::to_string(s.n_pending) + " rows accepted of " + std::to_string(at.n_staged) + " staged");
        refuse(s.start != at.position + s.n_pending, slot + " is at " + std::to_string(at.position) + " + " +
                                                         std::to_string(s.n_pending) + ", not " +
                                                         std::to_string(s.start));
    }
}

void State::advance(std::span<const SegmentView> segments) {
    if (spec_.recurrent.empty()) return;
    for (const SegmentView& s : segments)
        reached_[static_cast<size_t>(s.slot)] = {s.start + s.n_rows - s.n_draft, s.n_draft};
}

}  // namespace outpace
