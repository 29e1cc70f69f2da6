// The linear kernels of one instruction set; see tier.cpp.
#include "kernels/kernels.h"
#include "kernels/linear.h"

namespace outpace {

void OUTPACE_JOIN(linear_, OUTPACE_TIER)(int type, const LinearArgs& args, int tile_begin, int tile_end);

void OUTPACE_JOIN(linear_, OUTPACE_TIER)(int type, const LinearArgs& args, int tile_begin, int tile_end) {
    linear(type, args, tile_begin, tile_end);
}

}  // namespace outpace
