// The sampler's door: logits in, a token or a reason out.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/pages.h"
#include "core/chain.h"
#include "core/cpu.h"
#include "core/program.h"
#include "core/sampler.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// Keeps the interpreter's lock: taking it back costs more than a row does.
std::pair<size_t, int64_t> accept(const outpace::Sampler& self, const std::vector<int64_t>& draft,
                                  const outpace::Program& program, size_t first_row, uint64_t position,
                                  std::vector<int64_t> recent, size_t window) {
    const outpace::Accepted kept = self.accept(draft, program.logits(), first_row, position, std::move(recent), window);
    return {kept.n, kept.token};
}

using Row = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Tokens = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Keeps the lock too.
std::pair<int64_t, double> guess(const outpace::Sampler& self, const Row& logits, const std::optional<Tokens>& tokens,
                                 uint64_t position, const std::vector<int64_t>& recent) {
    const size_t n = tokens ? tokens->shape(0) : self.n_vocab();
    if (n == 0 || logits.shape(0) != n)
        throw std::invalid_argument("logits have " + std::to_string(logits.shape(0)) + " values for " +
                                    std::to_string(n) + " tokens");
    const std::span<const int32_t> given = tokens ? std::span(tokens->data(), n) : std::span<const int32_t>();
    const outpace::Guess found = self.guess(logits.data(), given, position, recent);
    return {found.token, found.chance};
}

using Hidden = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Rule = std::tuple<std::vector<double>, std::vector<double>, double, double>;

std::tuple<std::vector<int64_t>, std::vector<double>, size_t> chain(
    const outpace::Sampler& self, outpace::Program& program, outpace::Offset logits, outpace::Offset exported,
    const std::vector<int32_t>& rows, const Hidden& hidden, int start, nb::handle pages, int first,
    const std::optional<Tokens>& tokens, size_t most, const Rule& rule) {
    const auto& [least, shifts, p_min, surest] = rule;
    const size_t n = tokens ? tokens->shape(0) : self.n_vocab();
    const std::span<const int32_t> given = tokens ? std::span(tokens->data(), n) : std::span<const int32_t>();
    if (n == 0 || shifts.size() < 2) throw std::invalid_argument("a chain goes on among some tokens, by a rule");
    const auto is_within = [&](outpace::Offset at, size_t size) {
        return at >= 0 && static_cast<size_t>(at) + size * sizeof(float) <= program.workspace_bytes();
    };
    if (!is_within(logits, n) || !is_within(exported, hidden.shape(1)))
        throw std::invalid_argument("buffer out of range");
    if (hidden.shape(0) != rows.size()) throw std::invalid_argument("a chain needs a hidden state for each row");
    outpace::PageTables tables;
    const std::span<const int32_t> table = tables.open(pages);
    outpace::SegmentView segment = {start, static_cast<int>(rows.size()), table.data()};
    segment.first = first;
    outpace::Chain found;
    {
        nb::gil_scoped_release release;
        found = outpace::guess_chain(program, logits, exported,
                                     {rows, segment, table.size(), hidden.data(), hidden.shape(1)}, self, given, most,
                                     {least, shifts, p_min, surest});
    }
    return {std::move(found.tokens), std::move(found.chances), found.n_steps};
}

}  // namespace

void bind_sample(nb::module_& m) {
    using outpace::Sampler;
    using outpace::SamplerSettings;

    const auto check = [](const Sampler& sampler, const Row& logits) {
        if (logits.shape(0) != sampler.n_vocab())
            throw std::invalid_argument("logits have " + std::to_string(logits.shape(0)) + " values; expected " +
                                        std::to_string(sampler.n_vocab()));
    };

    nb::class_<Sampler>(m, "Sampler", "Chooses tokens by the settings of one request; see outpace.sampling.")
        .def(
            "__init__",
            [](Sampler* self, const std::string& tier, size_t n_vocab, uint64_t seed, float inverse_temperature,
               int64_t top_k, double typical_p, double top_p, float min_p_offset, float repeat_penalty,
               float presence_penalty, float frequency_penalty, std::vector<std::pair<int32_t, float>> logit_bias) {
                if (n_vocab == 0 || n_vocab > INT32_MAX) throw std::invalid_argument("n_vocab is out of range");
                for (const auto& [token, amount] : logit_bias)
                    if (token < 0 || static_cast<size_t>(token) >= n_vocab)
                        throw std::invalid_argument("logit_bias names a token outside the vocabulary");
                new (self) Sampler(outpace::kernels_for(tier).sample, n_vocab,
                                   {seed, inverse_temperature, top_k, typical_p, top_p, min_p_offset, repeat_penalty,
                                    presence_penalty, frequency_penalty, std::move(logit_bias)});
            },
            "tier"_a, "n_vocab"_a, "seed"_a, "inverse_temperature"_a, "top_k"_a, "typical_p"_a, "top_p"_a,
            "min_p_offset"_a, "repeat_penalty"_a, "presence_penalty"_a, "frequency_penalty"_a, "logit_bias"_a)
        .def(
            "choose",
            [check](const Sampler& self, const Row& logits, uint64_t position, const std::vector<int64_t>& recent) {
                check(self, logits);
                nb::gil_scoped_release free;
                return self.choose(logits.data(), position, recent);
            },
            "logits"_a.noconvert(), "position"_a, "recent"_a,
            "The token, or -1: a logit is NaN, -2: every token is masked, -3: `recent` holds an unknown id.")
        .def("accept", &accept, "draft"_a, "program"_a, "first_row"_a, "position"_a, "recent"_a, "window"_a,
             "From the logits that the program's last run left: how many drafted tokens `choose` would have chosen, "
             "and\n"
             "the token it chooses after them, or a reason for none.")
        .def("guess", &guess, "logits"_a.noconvert(), "tokens"_a.noconvert().none(), "position"_a, "recent"_a,
             "The token `choose` gives for a row where only `tokens` have these logits (None: all have), or a reason\n"
             "for none; and the share of the raw logits that it has.")
        .def("chain", &chain, "program"_a, "logits"_a, "exported"_a, "rows"_a, "hidden"_a.noconvert(), "start"_a,
             "pages"_a, "first"_a, "tokens"_a.noconvert().none(), "most"_a, "rule"_a,
             "The guesses of a draft program, which leaves logits and hidden states at these offsets, for the\n"
             "sequence whose last rows (see outpace.graph.step.Segment) these are: each made from the one before, as\n"
             "far as a rule (outpace.speculate.rule) goes. With them their chances, as `guess` gives them, and the\n"
             "steps: one more than guesses where the last gave none, which its logits explain.")
        .def(
            "partition",
            [check](const Sampler& self, const Row& logits, size_t count) {
                check(self, logits);
                outpace::Partition found;
                {
                    nb::gil_scoped_release free;
                    found = self.partition(logits.data(), count);
                }
                return std::make_tuple(found.best, found.total, found.top);
            },
            "logits"_a.noconvert(), "count"_a,
            "(largest logit, sum of e^(logit - largest), ids of the `count` largest, largest first).");
}
