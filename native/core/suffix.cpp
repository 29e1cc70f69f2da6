#include "core/suffix.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace outpace {
namespace {

// Each twice the one before: the hash of an n-gram is made of those of its halves.
constexpr size_t kLengths[] = {2, 4, 8, 16};

// Chance that a guess is right before anything was seen, by bits of the match length: (none, 1, 2-3, 4-7, ... 64).
constexpr double kPrior[] = {0.0, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95};
constexpr double kPriorWeight = 4.0;

// Evidence fades: a class of lengths remembers about this many of its last guesses.
constexpr double kMemory = 64.0;

// The finaliser of MurmurHash3 (Appleby, public domain) over a sum in which order counts.
uint64_t mix(uint64_t before, uint64_t after) {
    uint64_t h = before * 0x9E3779B97F4A7C15u + after + 0x632BE59BD9B4E019u;
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDu;
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53u;
    return h ^ (h >> 33);
}

// Class of a match by its length.
size_t kind_of(size_t match) { return static_cast<size_t>(std::bit_width(std::min(match, SuffixIndex::kMaxMatch))); }

}  // namespace

int64_t Grams::replace(const std::vector<int32_t>& tokens, uint64_t hash) {
    if (3 * (n_used_ + 1) > 2 * slots_.size()) grow();
    const size_t mask = slots_.size() - 1;
    const uint32_t key = static_cast<uint32_t>(hash), end = static_cast<uint32_t>(tokens.size());
    const int32_t* gram = tokens.data() + (end - n_);
    for (size_t at = key & mask;; at = (at + 1) & mask) {
        Slot& slot = slots_[at];
        if (slot.place == 0) {
            slot = {key, end};
            ++n_used_;
            return -1;
        }
        if (slot.hash != key || !std::equal(gram, gram + n_, tokens.data() + (slot.place - n_))) continue;
        const int64_t place = slot.place;
        slot.place = end;
        return place;
    }
}

void Grams::grow() {
    std::vector<Slot> old(slots_.empty() ? 64 : 2 * slots_.size(), Slot{0, 0});
    old.swap(slots_);
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
        if (slot.place == 0) continue;
        size_t at = slot.hash & mask;
        while (slots_[at].place != 0) at = (at + 1) & mask;
        slots_[at] = slot;
    }
}

SuffixIndex::SuffixIndex(int hash_bits) {
    if (hash_bits < 0 || hash_bits > 64) throw std::invalid_argument("a hash has 0 to 64 bits");
    mask_ = hash_bits == 64 ? ~uint64_t{0} : (uint64_t{1} << hash_bits) - 1;
    for (const size_t n : kLengths) levels_.push_back({Grams(n), std::vector<uint64_t>(n / 2)});
    for (size_t i = 0; i < kKinds; ++i) {
        hits_[i] = kPrior[i] * kPriorWeight;
        tries_[i] = kPriorWeight;
    }
}

void SuffixIndex::append(int32_t token) {
    if (tokens_.size() >= UINT32_MAX) throw std::length_error("a text has less than 2^32 tokens");
    if (source_ >= 0) {
        const bool hit = tokens_[static_cast<size_t>(source_)] == token;
        const size_t kind = kind_of(match_);
        const double fade = tries_[kind] < kMemory ? 1.0 : 1.0 - 1.0 / kMemory;
        tries_[kind] = tries_[kind] * fade + 1.0;
        hits_[kind] = hits_[kind] * fade + (hit ? 1.0 : 0.0);
        source_ = hit ? source_ + 1 : -1;
        match_ = hit ? match_ + 1 : 0;
    }
    tokens_.push_back(token);
    const size_t end = tokens_.size();
    uint64_t hash = static_cast<uint64_t>(token);
    for (Level& level : levels_) {
        // `hash` stands for the last half of the n-gram, the ring for the half before it.
        const size_t n = level.grams.length();
        uint64_t& slot = level.ring[end % level.ring.size()];
        const uint64_t before = slot;
        slot = hash;
        hash = mix(before, hash) & mask_;
        if (end < n) continue;
        const int64_t place = level.grams.replace(tokens_, hash);
        // A longer match takes over from a shorter one.
        if (place < 0 || match_ >= n) continue;
        source_ = place;
        match_ = measure(static_cast<size_t>(place));
    }
}

// How many tokens before `place` agree with the end of the text, up to kMaxMatch.
size_t SuffixIndex::measure(size_t place) const {
    const size_t end = tokens_.size(), limit = std::min(place, kMaxMatch);
    size_t n = 0;
    while (n < limit && tokens_[place - 1 - n] == tokens_[end - 1 - n]) ++n;
    return n;
}

void SuffixIndex::propose(size_t max_n, std::vector<int32_t>& tokens, std::vector<double>& confidence) const {
    if (source_ < 0) return;
    const size_t source = static_cast<size_t>(source_), period = tokens_.size() - source;
    for (size_t i = 0; i < max_n; ++i) {
        // Where the copy has caught up with the end of the text it goes on with what was drafted.
        tokens.push_back(i < period ? tokens_[source + i] : tokens[i - period]);
        const size_t kind = kind_of(match_ + i);
        confidence.push_back(hits_[kind] / tries_[kind]);
    }
}

}  // namespace outpace
