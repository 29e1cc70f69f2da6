// Compiled once per instruction set: everything below lives in an unnamed namespace, so no symbol built with
// wider instructions can be picked by the linker for a machine without them.
#include "kernels/attention.h"
#include "kernels/kernels.h"
#include "kernels/measure.h"
#include "kernels/pack.h"
#include "kernels/recurrent.h"
#include "kernels/route.h"
#include "kernels/rows.h"
#include "kernels/sample.h"

#define OUTPACE_STR2(a) #a
#define OUTPACE_STR(a) OUTPACE_STR2(a)

namespace outpace {

// In tier_linear.cpp: it takes most of a build's time, the rest most of its changes.
void OUTPACE_JOIN(linear_, OUTPACE_TIER)(int type, const LinearArgs& args, int tile_begin, int tile_end);

const Kernels& OUTPACE_JOIN(kernels_, OUTPACE_TIER)();

const Kernels& OUTPACE_JOIN(kernels_, OUTPACE_TIER)() {
    static const Kernels table = {
        .tier = OUTPACE_STR(OUTPACE_TIER),
        .tile_bytes = tile_bytes,
        .pack_tile = pack_tile,
        .put_row = put_row,
        .unpack_row = unpack_row,
        .linear = OUTPACE_JOIN(linear_, OUTPACE_TIER),
        .quantize = quantize,
        .rms_norm = rms_norm,
        .swiglu = swiglu,
        .silu = silu,
        .add = add_rows,
        .mul = mul_rows,
        .scale = scale_row,
        .add_scaled = add_scaled,
        .l2_norm = l2_norm,
        .sigmoid = sigmoid,
        .gated = gated,
        .decay = decay,
        .conv = conv,
        .gated_delta = gated_delta,
        .route = route,
        .rope_head = rope_head,
        .kv_write = kv_write,
        .attention = attention,
        .attention_combine = attention_combine,
        .read_bytes = read_bytes,
        .integer_rounds = integer_rounds,
        .sample = sample_kernels(),
    };
    return table;
}

}  // namespace outpace
