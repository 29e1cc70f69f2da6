// The suffix index's door: a list of tokens in, guesses and their chances out.
#include "core/suffix.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <utility>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// The index of one sequence, and how many of its tokens were observed.
struct Suffix {
    outpace::SuffixIndex index;
    size_t n_observed = 0;

    explicit Suffix(int hash_bits) : index(hash_bits) {}
};

void append(Suffix& self, nb::list tokens, size_t begin) {
    for (size_t i = begin; i < tokens.size(); ++i) self.index.append(nb::cast<int32_t>(tokens[i]));
}

}  // namespace

void bind_suffix(nb::module_& m) {
    nb::class_<Suffix>(m, "Suffix", "Where the latest tokens of a text stood before; see outpace.speculate.suffix.")
        .def(nb::init<int>(), "hash_bits"_a = 64)
        .def(
            "propose",
            [](Suffix& self, nb::list tokens, int64_t max_n) -> nb::object {
                append(self, tokens, self.index.size());
                if (self.index.source() < 0 || max_n < 1) return nb::none();
                std::pair<std::vector<int32_t>, std::vector<double>> found;
                self.index.propose(static_cast<size_t>(max_n), found.first, found.second);
                return nb::cast(found);
            },
            "tokens"_a, "max_n"_a,
            nb::sig("def propose(self, tokens: list[int], max_n: int) -> tuple[list[int], list[float]] | None"),
            "Take in the end of `tokens` and guess what follows: (guesses, the chance of each), or None.")
        .def(
            "observe",
            [](Suffix& self, nb::list kept) {
                const size_t known = self.index.size() - self.n_observed;
                self.n_observed += kept.size();
                append(self, kept, known);
            },
            "kept"_a, "Take in committed tokens that `propose` has not shown yet.")
        .def_prop_ro(
            "match", [](const Suffix& self) { return std::pair(self.index.source(), self.index.match()); },
            "Place of the token expected next (or -1), and how many tokens before it match the end.");
}
