// Which experts a row uses: softmax over the router's values, the largest of them, their shares.
// The sum runs over 16 lanes in order, then as a tree of halves; shares are added in the order they were chosen in.
#pragma once

#include "kernels/rows.h"

namespace outpace {
namespace {

// Of equal shares the lower index goes first. `shares` is scratch for n floats.
void route(const float* x, int n, int n_used, bool renormalise, float* shares, int32_t* index, float* share) {
    float largest = x[0];
    for (int i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
    const f32x16 top = set1(largest);
    map_row(x, n, shares, [&](int, f32x16 v) { return exp(sub(v, top)); });
    f32x16 total16 = zero();
    for (int i = 0; i < n; i += 16) total16 = add(total16, load_part(shares + i, n - i));
    const float total = sum(total16);
    for (int i = 0; i < n; ++i) shares[i] /= total;
    float used = 0.0f;
    for (int rank = 0; rank < n_used; ++rank) {
        int best = -1;
        for (int i = 0; i < n; ++i)
            if (!(shares[i] < 0.0f) && (best < 0 || shares[i] > shares[best])) best = i;
        index[rank] = best;
        share[rank] = shares[best];
        shares[best] = -1.0f;  // taken
        used += share[rank];
    }
    if (renormalise)
        for (int rank = 0; rank < n_used; ++rank) share[rank] /= used;
}

}  // namespace
}  // namespace outpace
