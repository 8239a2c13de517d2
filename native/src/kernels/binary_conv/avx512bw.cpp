// Binary convolution for AVX-512 without VPOPCNTDQ: table lookups for 64 output channels at once.
#include "kernels/binary_conv/binary_conv.h"
#include "kernels/vec/avx512.h"

namespace onebit {
namespace {

constexpr size_t kSpans = 6;  // 6 spans x (low, high): 12 of 32 registers are accumulators

}  // namespace
}  // namespace onebit

#include "kernels/binary_conv/lookup.h"

namespace onebit {
const BinaryConvKernel binary_conv_avx512bw = {
    .isa = Isa::avx512bw,
    .name = "binary_conv_avx512bw",
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
