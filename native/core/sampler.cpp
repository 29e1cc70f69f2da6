#include "core/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace outpace {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

// Beyond this distance below the best logit a weight is 0: 2^30 e^-22.5 < 1/2.
constexpr float kWeightless = 22.5f;

struct Entry {
    float key;
    int32_t id, weight;
};

// Buffers that keep their capacity between calls; one set a thread, contents never outlive a call.
struct Scratch {
    std::vector<float> row, masked, chunk_max, groups, keys;
    std::vector<int32_t> ids, weights;
    std::vector<int64_t> sums;
    std::vector<uint16_t> buckets;
    std::vector<Entry> border;
};

// Not inlined, or the compiler looks the thread's copy up again at every use.
__attribute__((noinline)) Scratch& scratch() {
    thread_local Scratch buffers;
    return buffers;
}

// A logit that at least `count` tokens reach: the count-th largest of the maxima of disjoint groups of tokens.
float floor_for(const std::vector<float>& chunk_max, size_t count, std::vector<float>& groups) {
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

// Leaves the `count` ids with the largest logits, ties to the lower id, in order if asked.
void keep_largest(const float* logits, std::vector<int32_t>& ids, size_t count, bool sorted) {
    const auto before = [logits](int32_t a, int32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    };
    count = std::min(count, ids.size());
    const auto end = ids.begin() + static_cast<ptrdiff_t>(count);
    if (count < ids.size()) std::nth_element(ids.begin(), end, ids.end(), before);
    ids.resize(count);
    if (sorted) std::sort(ids.begin(), ids.end(), before);
}

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
              [](const Entry& a, const Entry& b) { return a.key != b.key ? a.key < b.key : a.id < b.id; });
    for (const Entry& entry : s.border) {
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

// Applies logit_bias and the penalties to a copy of the row; false when `recent` holds an unknown id.
bool Sampler::adjust(float* row, const std::vector<int64_t>& recent) const {
    for (const auto& [token, amount] : settings_.logit_bias)
        row[token] = amount == -kInfinity ? -kInfinity : row[token] + amount;
    std::vector<int64_t> sorted = recent;
    std::sort(sorted.begin(), sorted.end());
    if (!sorted.empty() && (sorted.front() < 0 || static_cast<size_t>(sorted.back()) >= n_vocab_)) return false;
    for (size_t i = 0, next; i < sorted.size(); i = next) {
        for (next = i + 1; next < sorted.size() && sorted[next] == sorted[i];) ++next;
        float& x = row[sorted[i]];
        x = x > 0 ? x / settings_.repeat_penalty : x * settings_.repeat_penalty;
        x -= static_cast<float>(next - i) * settings_.frequency_penalty;
        x -= settings_.presence_penalty;
    }
    return true;
}

// peaks: the largest of every chunk, or null to look for them.
int64_t Sampler::choose(const float* logits, const float* peaks, uint64_t position,
                        const std::vector<int64_t>& recent) const {
    Scratch& s = scratch();
    const NoiseKey key = {settings_.seed, position};
    const size_t n_chunks = (n_vocab_ + kSampleChunk - 1) / kSampleChunk;
    s.chunk_max.resize(n_chunks);
    if (peaks != nullptr) {
        s.chunk_max.assign(peaks, peaks + n_chunks);
        for (const float peak : s.chunk_max)
            if (std::isnan(peak)) return kHasNaN;
    } else if (!kernels_.chunk_max(logits, n_vocab_, s.chunk_max.data())) {
        return kHasNaN;
    }
    if (!recent.empty() || !settings_.logit_bias.empty()) {
        s.row.assign(logits, logits + n_vocab_);
        if (!adjust(s.row.data(), recent)) return kUnknownRecent;
        logits = s.row.data();
        kernels_.chunk_max(logits, n_vocab_, s.chunk_max.data());
    }
    const float best = kernels_.max(s.chunk_max.data(), n_chunks);
    if (best == -kInfinity) return kAllMasked;

    const bool is_greedy = settings_.inverse_temperature == 0;
    if (best == kInfinity || (is_greedy && settings_.typical_p >= 1)) {  // every other filter keeps the best token
        const size_t chunk = kernels_.find(s.chunk_max.data(), n_chunks, best);
        const size_t begin = chunk * kSampleChunk, n = std::min(n_vocab_ - begin, kSampleChunk);
        return static_cast<int64_t>(begin + kernels_.find(logits + begin, n, best));
    }
    const bool has_top_k = settings_.top_k > 0 && static_cast<size_t>(settings_.top_k) < n_vocab_;
    if (!has_top_k && settings_.typical_p >= 1 && settings_.top_p >= 1 && settings_.min_p_offset == -kInfinity)
        return static_cast<int64_t>(
            kernels_.noisy_argmax(logits, n_vocab_, s.chunk_max.data(), settings_.inverse_temperature, key));

    // The lowest logit that the first filter in use can keep.
    float floor = kLowest;
    if (has_top_k)
        floor = floor_for(s.chunk_max, static_cast<size_t>(settings_.top_k), s.groups);
    else if (settings_.typical_p >= 1)
        floor = settings_.top_p < 1 ? best - kWeightless : best + settings_.min_p_offset;
    s.ids.resize(n_vocab_);
    s.ids.resize(kernels_.collect(logits, n_vocab_, s.chunk_max.data(), std::max(floor, kLowest), s.ids.data()));
    if (has_top_k) keep_largest(logits, s.ids, static_cast<size_t>(settings_.top_k), false);
    return choose_kept(logits, key);
}

// Many survivors: a row where the others are masked goes through the noise four times as fast as a list.
int64_t Sampler::noisy_argmax_of_ids(const float* logits, NoiseKey key) const {
    Scratch& s = scratch();
    s.masked.assign(n_vocab_, -kInfinity);
    for (const int32_t id : s.ids) s.masked[id] = logits[id];
    kernels_.chunk_max(s.masked.data(), n_vocab_, s.chunk_max.data());
    return static_cast<int64_t>(
        kernels_.noisy_argmax(s.masked.data(), n_vocab_, s.chunk_max.data(), settings_.inverse_temperature, key));
}

// The filters after top_k, then noise, on the ids in scratch.
int64_t Sampler::choose_kept(const float* logits, NoiseKey key) const {
    Scratch& s = scratch();
    if (settings_.typical_p < 1) {
        weigh(kernels_, logits, s);
        center(s);
        keep_nucleus(kernels_, s, settings_.typical_p);
    }
    if (settings_.top_p < 1) {
        weigh(kernels_, logits, s);
        keep_nucleus(kernels_, s, settings_.top_p);
    }
    if (settings_.min_p_offset > -kInfinity) {
        float best = -kInfinity;
        for (const int32_t id : s.ids) best = std::max(best, logits[id]);
        const float least = best + settings_.min_p_offset;
        std::erase_if(s.ids, [&](int32_t id) { return logits[id] < least; });
    }
    const bool is_greedy = settings_.inverse_temperature == 0;
    if (!is_greedy && s.ids.size() > n_vocab_ / 16) return noisy_argmax_of_ids(logits, key);
    s.keys.resize(s.ids.size());
    if (!is_greedy) kernels_.gumbel(s.ids.data(), s.ids.size(), key, s.keys.data());
    float score = -kInfinity;
    int64_t token = -1;
    for (size_t i = 0; i < s.ids.size(); ++i) {
        const float x = logits[s.ids[i]];
        const float y = is_greedy ? x : x * settings_.inverse_temperature + s.keys[i];
        if (token < 0 || y > score || (y == score && s.ids[i] < token)) {
            score = y;
            token = s.ids[i];
        }
    }
    return token;
}

Accepted Sampler::accept(std::span<const int64_t> draft, const Logits& logits, size_t first_row, uint64_t position,
                         std::vector<int64_t> recent, size_t window) const {
    if (logits.n != n_vocab_ || first_row >= logits.n_rows || draft.size() >= logits.n_rows - first_row)
        throw std::invalid_argument("the logits have other rows than the draft asks for");
    const size_t n_chunks = (n_vocab_ + kSampleChunk - 1) / kSampleChunk;
    for (size_t i = 0;; ++i) {
        const size_t row = first_row + i;
        const int64_t token =
            choose(logits.rows + row * logits.stride, logits.peaks + row * n_chunks, position + i, recent);
        if (token < 0 || i == draft.size() || token != draft[i]) return {i, token};
        if (window == 0) continue;
        if (recent.size() == window) recent.erase(recent.begin());
        recent.push_back(token);
    }
}

Partition Sampler::partition(const float* logits, size_t count) const {
    Scratch& s = scratch();
    const size_t n_chunks = (n_vocab_ + kSampleChunk - 1) / kSampleChunk;
    s.chunk_max.resize(n_chunks);
    kernels_.chunk_max(logits, n_vocab_, s.chunk_max.data());
    const float best = kernels_.max(s.chunk_max.data(), n_chunks);
    Partition out = {static_cast<double>(best), 0, {}};
    if (best == kInfinity)
        out.total = static_cast<double>(std::count(logits, logits + n_vocab_, best));
    else
        out.total = kernels_.exp_sum(logits, n_vocab_, best);
    if (count == 0) return out;

    count = std::min(count, n_vocab_);
    s.ids.resize(n_vocab_);
    const float floor = floor_for(s.chunk_max, count, s.groups);
    if (floor > kLowest)
        s.ids.resize(kernels_.collect(logits, n_vocab_, s.chunk_max.data(), floor, s.ids.data()));
    else  // masked tokens are reported too when not enough others are left
        std::iota(s.ids.begin(), s.ids.end(), 0);
    keep_largest(logits, s.ids, count, true);
    out.top = s.ids;
    return out;
}

}  // namespace outpace
