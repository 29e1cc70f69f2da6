// Where the latest tokens of a text stood before: n-grams of four lengths to the place after their latest occurrence.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace outpace {

// Place after the latest occurrence of every n-gram of one length. Open addressing; 8 bytes a slot, at most two of
// three in use. A hash is no proof, so tokens are compared.
class Grams {
  public:
    explicit Grams(size_t n) : n_(n) {}

    size_t length() const { return n_; }

    // The place after the latest earlier occurrence of the n-gram that ends the text, or -1; from now on `end` is the
    // latest. `hash` is the n-gram's, `end` the length of the text.
    int64_t replace(const std::vector<int32_t>& tokens, uint64_t hash);

  private:
    struct Slot {
        uint32_t hash, place;  // place 0: empty
    };

    void grow();

    size_t n_, n_used_ = 0;
    std::vector<Slot> slots_;
};

// The longest match that the tables can tell, kept as tokens come.
class SuffixIndex {
  public:
    // Matches are measured up to this length; longer ones count as this long.
    static constexpr size_t kMaxMatch = 64;

    // hash_bits: how much of a hash is used; fewer than 64 make collisions, which change no match.
    explicit SuffixIndex(int hash_bits = 64);

    // Checks the expectation against one token of truth, indexes it, and finds the match at the new end.
    void append(int32_t token);

    // Writes the max_n tokens that followed the match, and for each the chance that it is right; nothing without one.
    void propose(size_t max_n, std::vector<int32_t>& tokens, std::vector<double>& confidence) const;

    size_t size() const { return tokens_.size(); }
    // Place of the token expected next (or -1), and how many tokens before it match the end.
    int64_t source() const { return source_; }
    size_t match() const { return match_; }

  private:
    // One for no match, and one for each number of bits of a match's length.
    static constexpr size_t kKinds = 8;

    size_t measure(size_t place) const;

    struct Level {
        Grams grams;
        std::vector<uint64_t> ring;  // hashes of the latest n-grams of half the length
    };

    std::vector<int32_t> tokens_;
    std::vector<Level> levels_;
    uint64_t mask_;
    int64_t source_ = -1;
    size_t match_ = 0;
    std::array<double, kKinds> hits_, tries_;
};

}  // namespace outpace
