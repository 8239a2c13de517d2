// Binary convolution for AVX2: table lookups for 32 output channels at once.
#include "kernels/vec/avx2.h"

#include "kernels/binary_conv/binary_conv.h"

namespace onebit {
namespace {

constexpr size_t kSpans = 3;  // 3 spans x 2 vectors x (low, high): 12 of 16 registers are accumulators

}  // namespace
}  // namespace onebit

#include "kernels/binary_conv/lookup.h"

namespace onebit {
const BinaryConvKernel binary_conv_avx2 = {
    .isa = Isa::avx2,
    .name = "binary_conv_avx2",
    .pixels = kSpans * kSpan,
    .span = kSpan,
    .word_bytes = kWordBytes,
    .weight_bytes = kNibbles,
    .best_from = 1,
    .prepare = prepare,
    .pack_weights = pack_weights,
    .count = count,
};
}  // namespace onebit
