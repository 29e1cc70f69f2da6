#include "core/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace outpace {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Beyond this distance below the best logit a weight is 0: 2^30 e^-22.5 < 1/2.
constexpr float kWeightless = 22.5f;

size_t chunks_of(size_t n) { return (n + kSampleChunk - 1) / kSampleChunk; }

// How many of the first tokens have the number of their place.
size_t n_in_order(std::span<const int32_t> tokens) {
    size_t n = 0;
    for (size_t end; (end = n + kSampleChunk) <= tokens.size(); n = end) {
        int32_t off = 0;
        for (size_t i = n; i < end; ++i) off |= tokens[i] ^ static_cast<int32_t>(i);
        if (off != 0) break;
    }
    while (n < tokens.size() && tokens[n] == static_cast<int32_t>(n)) ++n;
    return n;
}

}  // namespace

// Applies logit_bias and the penalties to a copy of the row; false when `recent` holds an unknown id.
bool Sampler::adjust(float* logits, std::span<const int32_t> tokens, const std::vector<int64_t>& recent) const {
    const auto in_order = static_cast<ptrdiff_t>(n_in_order(tokens));
    const auto logit_of = [=](int64_t token) -> float* {
        if (tokens.empty() || token < in_order) return logits + token;
        const auto found = std::find(tokens.begin() + in_order, tokens.end(), token);
        return found == tokens.end() ? nullptr : logits + (found - tokens.begin());
    };
    for (const auto& [token, amount] : settings_.logit_bias)
        if (float* x = logit_of(token)) *x = amount == -kInfinity ? -kInfinity : *x + amount;
    std::vector<int64_t> sorted = recent;
    std::sort(sorted.begin(), sorted.end());
    if (!sorted.empty() && (sorted.front() < 0 || static_cast<size_t>(sorted.back()) >= n_vocab_)) return false;
    for (size_t i = 0, next; i < sorted.size(); i = next) {
        for (next = i + 1; next < sorted.size() && sorted[next] == sorted[i];) ++next;
        float* x = logit_of(sorted[i]);
        if (x == nullptr) continue;
        *x = *x > 0 ? *x / settings_.repeat_penalty : *x * settings_.repeat_penalty;
        *x -= static_cast<float>(next - i) * settings_.frequency_penalty;
        *x -= settings_.presence_penalty;
    }
    return true;
}

int64_t Sampler::choose(Row row, uint64_t position, const std::vector<int64_t>& recent) const {
    Scratch& s = scratch();
    const NoiseKey key = {settings_.seed, position};
    const size_t n = row.tokens.empty() ? n_vocab_ : row.tokens.size(), n_chunks = chunks_of(n);
    s.chunk_max.resize(n_chunks);
    if (row.peaks != nullptr) {
        s.chunk_max.assign(row.peaks, row.peaks + n_chunks);
        for (const float peak : s.chunk_max)
            if (std::isnan(peak)) return kHasNaN;
    } else if (!kernels_.chunk_max(row.logits, n, s.chunk_max.data())) {
        return kHasNaN;
    }
    if (!recent.empty() || !settings_.logit_bias.empty()) {
        s.row.assign(row.logits, row.logits + n);
        if (!adjust(s.row.data(), row.tokens, recent)) return kUnknownRecent;
        row.logits = s.row.data();
        kernels_.chunk_max(row.logits, n, s.chunk_max.data());
    }
    const float best = kernels_.max(s.chunk_max.data(), n_chunks);
    if (best == -kInfinity) return kAllMasked;

    const bool is_greedy = settings_.inverse_temperature == 0;
    // Greedy: every filter but typical_p keeps the best token.
    if (best == kInfinity || (is_greedy && settings_.typical_p >= 1)) return lowest_with(row, best);
    const bool has_top_k = settings_.top_k > 0 && static_cast<size_t>(settings_.top_k) < n;
    if (!has_top_k && settings_.typical_p >= 1 && settings_.top_p >= 1 && settings_.min_p_offset == -kInfinity) {
        if (!row.tokens.empty()) return noisy_argmax_of_some(row, key);
        return static_cast<int64_t>(
            kernels_.noisy_argmax(row.logits, n, s.chunk_max.data(), settings_.inverse_temperature, key));
    }

    // The lowest logit that the first filter in use can keep.
    float floor = kLowest;
    if (has_top_k)
        floor = floor_for(static_cast<size_t>(settings_.top_k), s);
    else if (settings_.typical_p >= 1)
        floor = settings_.top_p < 1 ? best - kWeightless : best + settings_.min_p_offset;
    s.ids.clear();
    find_from(row.logits, 0, n, std::max(floor, kLowest));
    const float* logits = by_token(row);
    if (has_top_k) keep_largest(logits, static_cast<size_t>(settings_.top_k), false, s);
    keep_likely(kernels_, settings_, logits, s);
    return best_of_ids(logits, key);
}

int32_t Sampler::token_of(const Row& row, size_t place) const {
    const int32_t token = row.tokens[place];
    if (token < 0 || static_cast<size_t>(token) >= n_vocab_) throw std::invalid_argument("a token is out of range");
    return token;
}

// The lowest token that has this logit; one does.
int64_t Sampler::lowest_with(const Row& row, float logit) const {
    const std::vector<float>& peaks = scratch().chunk_max;
    const size_t n = row.tokens.empty() ? n_vocab_ : row.tokens.size();
    int64_t lowest = INT64_MAX;
    for (size_t c = kernels_.find(peaks.data(), peaks.size(), logit); c < peaks.size(); ++c) {
        if (peaks[c] != logit) continue;
        const size_t begin = c * kSampleChunk, size = std::min(n - begin, kSampleChunk);
        if (row.tokens.empty()) return static_cast<int64_t>(begin + kernels_.find(row.logits + begin, size, logit));
        for (size_t i = begin; i < begin + size; ++i)
            if (row.logits[i] == logit) lowest = std::min<int64_t>(lowest, token_of(row, i));
    }
    return lowest;
}

// Adds to scratch's ids the places from `begin` on, a whole number of chunks, with a logit of at least `floor`.
void Sampler::find_from(const float* logits, size_t begin, size_t n, float floor) const {
    Scratch& s = scratch();
    if (s.found.size() < n - begin) s.found.resize(n - begin);
    const size_t count =
        kernels_.collect(logits + begin, n - begin, s.chunk_max.data() + begin / kSampleChunk, floor, s.found.data());
    for (size_t i = 0; i < count; ++i) s.ids.push_back(s.found[i] + static_cast<int32_t>(begin));
}

// Turns scratch's ids, places in the row, into tokens; returns where the logits of these stand by token.
const float* Sampler::by_token(const Row& row) const {
    if (row.tokens.empty()) return row.logits;
    Scratch& s = scratch();
    s.wide.resize(n_vocab_);
    for (int32_t& id : s.ids) {
        const int32_t token = token_of(row, static_cast<size_t>(id));
        s.wide[static_cast<size_t>(token)] = row.logits[id];
        id = token;
    }
    return s.wide.data();
}

// Among the tokens in order at the front noise comes by the chunk; their best then meets the others.
int64_t Sampler::noisy_argmax_of_some(const Row& row, NoiseKey key) const {
    Scratch& s = scratch();
    const size_t n_chunks = n_in_order(row.tokens) / kSampleChunk, front = n_chunks * kSampleChunk;
    s.ids.clear();
    if (n_chunks > 0 && kernels_.max(s.chunk_max.data(), n_chunks) > -kInfinity)
        s.ids.push_back(static_cast<int32_t>(
            kernels_.noisy_argmax(row.logits, front, s.chunk_max.data(), settings_.inverse_temperature, key)));
    find_from(row.logits, front, row.tokens.size(), kLowest);
    return best_of_ids(by_token(row), key);
}

// Many survivors: a row where the others are masked goes through the noise four times as fast as a list.
int64_t Sampler::noisy_argmax_of_ids(const float* logits, NoiseKey key) const {
    Scratch& s = scratch();
    s.masked.assign(n_vocab_, -kInfinity);
    for (const int32_t id : s.ids) s.masked[id] = logits[id];
    s.chunk_max.resize(chunks_of(n_vocab_));
    kernels_.chunk_max(s.masked.data(), n_vocab_, s.chunk_max.data());
    return static_cast<int64_t>(
        kernels_.noisy_argmax(s.masked.data(), n_vocab_, s.chunk_max.data(), settings_.inverse_temperature, key));
}

// Of scratch's ids the one with the best logit after temperature and noise.
int64_t Sampler::best_of_ids(const float* logits, NoiseKey key) const {
    Scratch& s = scratch();
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

Guess Sampler::guess(const float* logits, std::span<const int32_t> tokens, uint64_t position,
                     const std::vector<int64_t>& recent) const {
    Scratch& s = scratch();
    const size_t n = tokens.empty() ? n_vocab_ : tokens.size();
    s.peaks.resize(chunks_of(n));
    if (!kernels_.chunk_max(logits, n, s.peaks.data())) return {kHasNaN, 0.0};
    const float best = kernels_.max(s.peaks.data(), s.peaks.size());
    const int64_t token = choose({logits, tokens, s.peaks.data()}, position, recent);
    if (token < 0 || best == kInfinity) return {token, 0.0};
    auto place = static_cast<size_t>(token);
    if (!tokens.empty() && (place >= n || tokens[place] != token)) {
        // Those out of order are at the end.
        const auto found = std::find(tokens.rbegin(), tokens.rend(), token);
        place = static_cast<size_t>(tokens.rend() - found) - 1;
    }
    const double below = static_cast<double>(logits[place]) - static_cast<double>(best);
    return {token, std::exp(below) / kernels_.exp_sum(logits, n, best)};
}

Accepted Sampler::accept(std::span<const int64_t> draft, const Logits& logits, size_t first_row, uint64_t position,
                         std::vector<int64_t> recent, size_t window) const {
    if (logits.n != n_vocab_ || first_row >= logits.n_rows || draft.size() >= logits.n_rows - first_row)
        throw std::invalid_argument("the logits have other rows than the draft asks for");
    const size_t n_chunks = chunks_of(n_vocab_);
    for (size_t i = 0;; ++i) {
        const size_t row = first_row + i;
        const int64_t token =
            choose({logits.rows + row * logits.stride, {}, logits.peaks + row * n_chunks}, position + i, recent);
        if (token < 0 || i == draft.size() || token != draft[i]) return {i, token};
        if (window == 0) continue;
        if (recent.size() == window) recent.erase(recent.begin());
        recent.push_back(token);
    }
}

Partition Sampler::partition(const float* logits, size_t count) const {
    Scratch& s = scratch();
    s.chunk_max.resize(chunks_of(n_vocab_));
    kernels_.chunk_max(logits, n_vocab_, s.chunk_max.data());
    const float best = kernels_.max(s.chunk_max.data(), s.chunk_max.size());
    Partition out = {static_cast<double>(best), 0, {}};
    if (best == kInfinity)
        out.total = static_cast<double>(std::count(logits, logits + n_vocab_, best));
    else
        out.total = kernels_.exp_sum(logits, n_vocab_, best);
    if (count == 0) return out;

    count = std::min(count, n_vocab_);
    s.ids.clear();
    const float floor = floor_for(count, s);
    if (floor > kLowest) {
        find_from(logits, 0, n_vocab_, floor);
    } else {  // masked tokens are reported too when not enough others are left
        s.ids.resize(n_vocab_);
        std::iota(s.ids.begin(), s.ids.end(), 0);
    }
    keep_largest(logits, count, true, s);
    out.top = s.ids;
    return out;
}

}  // namespace outpace
