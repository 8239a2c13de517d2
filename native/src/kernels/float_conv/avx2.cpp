// The real-valued convolution for AVX2 and FMA: 6 pixels x 16 channels in registers.
#include "kernels/vec/avx2.h"

#include "kernels/float_conv/float_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_avx2 = {
    .isa = Isa::avx2,
    .name = "float_conv_avx2",
    .row_name = "float_rows_avx2",
    .pixels = kPixels,
    .panel = kPanel,
    .multiply = multiply,
    .combine = combine,
    .find_results = find_results,
};
}  // namespace onebit
