#include "core/filters.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace outpace {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Leaves the fewest ids, smallest key first, whose weights reach `share` of the sum. Keys are sorted into buckets
// first, so only the bucket that the end falls into is put in order; whole numbers make the sums exact either way.
void keep_nucleus(const SampleKernels& kernels, Scratch& s, double share) {
    const size_t n = s.ids.size();
    int64_t total = 0;
    for (size_t i = 0; i < n; ++i) total += s.weights[i];
    const double wanted = std::max(share * static_cast<double>(total), 1.0);  // never nothing
    const auto reached = [wanted](int64_t sum) { return static_cast<double>(sum) >= wanted; };

    const size_t n_buckets = n <= 128 ? 1 : 2048;
    const float span = std::max(std::min(kernels.max(s.keys.data(), n), 32.0f), 1e-30f);
    const float per_key = static_cast<float>(n_buckets) / span, last_bucket = static_cast<float>(n_buckets - 1);
    s.sums.assign(n_buckets, 0);
    s.buckets.resize(n);
    for (size_t i = 0; i < n; ++i)
        s.buckets[i] = static_cast<uint16_t>(static_cast<int32_t>(std::min(s.keys[i] * per_key, last_bucket)));
    int64_t* sums = s.sums.data();
    for (size_t i = 0; i < n; ++i) sums[s.buckets[i]] += s.weights[i];
    size_t last = 0;
    int64_t sum = 0;
    while (last + 1 < n_buckets && !reached(sum + sums[last])) sum += sums[last++];

    s.border.clear();
    int32_t* ids = s.ids.data();
    size_t kept = 0;
    for (size_t i = 0; i < n; ++i) {
        const int32_t id = ids[i];
        const size_t bucket = s.buckets[i];
        if (bucket == last) s.border.push_back({s.keys[i], id, s.weights[i]});
        ids[kept] = id;
        kept += bucket < last;
    }
    s.ids.resize(kept);
    std::sort(s.border.begin(), s.border.end(),
              [](const Weighted& a, const Weighted& b) { return a.key != b.key ? a.key < b.key : a.id < b.id; });
    for (const Weighted& entry : s.border) {
        s.ids.push_back(entry.id);
        sum += entry.weight;
        if (reached(sum)) break;
    }
}

// Distances of the ids below their best logit, and the weights these give.
void weigh(const SampleKernels& kernels, const float* logits, Scratch& s) {
    const size_t n = s.ids.size();
    s.keys.resize(n);
    s.weights.resize(n);
    for (size_t i = 0; i < n; ++i) s.keys[i] = logits[s.ids[i]];
    const float best = kernels.max(s.keys.data(), n);
    for (size_t i = 0; i < n; ++i) s.keys[i] = best - s.keys[i];
    kernels.weights(s.keys.data(), n, s.weights.data());
}

// Turns distances into how far each is from the mean distance (`typical_p` in transforms.py).
void center(Scratch& s) {
    int64_t total = 0, moment = 0;
    for (size_t i = 0; i < s.keys.size(); ++i) {
        const int64_t whole = std::lrint(std::min(s.keys[i], 80.0f) * 16384.0f);
        moment += s.weights[i] * whole;
        total += s.weights[i];
    }
    const double mean = static_cast<double>(moment) / static_cast<double>(total) * 0x1p-14;
    for (float& key : s.keys) key = std::fabs(key - static_cast<float>(mean));
}

}  // namespace

// Not inlined, or the compiler looks the thread's copy up again at every use.
__attribute__((noinline)) Scratch& scratch() {
    thread_local Scratch buffers;
    return buffers;
}

// The count-th largest of the maxima of disjoint groups of tokens.
float floor_for(size_t count, Scratch& s) {
    const std::vector<float>& chunk_max = s.chunk_max;
    std::vector<float>& groups = s.groups;
    if (count > chunk_max.size()) return kLowest;
    const size_t width = std::max<size_t>(1, chunk_max.size() / (4 * count));
    groups.clear();
    for (size_t c = 0; c < chunk_max.size(); c += width) {
        float best = chunk_max[c];
        for (size_t i = c + 1; i < std::min(c + width, chunk_max.size()); ++i) best = std::max(best, chunk_max[i]);
        groups.push_back(best);
    }
    std::nth_element(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(count - 1), groups.end(),
                     std::greater<float>());
    return std::max(groups[count - 1], kLowest);
}

void keep_largest(const float* logits, size_t count, bool sorted, Scratch& s) {
    std::vector<int32_t>& ids = s.ids;
    const auto before = [logits](int32_t a, int32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    };
    count = std::min(count, ids.size());
    const auto end = ids.begin() + static_cast<ptrdiff_t>(count);
    if (count < ids.size()) std::nth_element(ids.begin(), end, ids.end(), before);
    ids.resize(count);
    if (sorted) std::sort(ids.begin(), ids.end(), before);
}

void keep_likely(const SampleKernels& kernels, const SamplerSettings& settings, const float* logits, Scratch& s) {
    if (settings.typical_p < 1) {
        weigh(kernels, logits, s);
        center(s);
        keep_nucleus(kernels, s, settings.typical_p);
    }
    if (settings.top_p < 1) {
        weigh(kernels, logits, s);
        keep_nucleus(kernels, s, settings.top_p);
    }
    if (settings.min_p_offset > -kInfinity) {
        float best = -kInfinity;
        for (const int32_t id : s.ids) best = std::max(best, logits[id]);
        const float least = best + settings.min_p_offset;
        std::erase_if(s.ids, [&](int32_t id) { return logits[id] < least; });
    }
}

}  // namespace outpace
