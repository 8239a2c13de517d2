// The real-valued convolution for 64-bit ARM: 6 pixels x 16 channels in registers.
#include "kernels/vec/neon.h"

#include "kernels/float_conv/float_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_neon = {
    .isa = Isa::neon,
    .name = "float_conv_neon",
    .row_name = "float_rows_neon",
    .pixels = kPixels,
    .panel = kPanel,
    .multiply = multiply,
    .combine = combine,
    .find_results = find_results,
};
}  // namespace onebit
