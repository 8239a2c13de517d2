// The real-valued convolution for AVX-512: 8 pixels x 32 channels in registers.
#include "kernels/vec/avx512.h"

#include "kernels/float_conv/float_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 8;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_avx512 = {
    .isa = Isa::avx512bw,
    .name = "float_conv_avx512",
    .row_name = "float_rows_avx512",
    .pixels = kPixels,
    .panel = kPanel,
    .multiply = multiply,
    .combine = combine,
    .find_results = find_results,
};
}  // namespace onebit
