// The real-valued convolution in plain C++, for any CPU.
#include "kernels/vec/portable.h"

#include "kernels/float_conv/float_conv.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_portable = {
    .isa = Isa::portable,
    .name = "float_conv_portable",
    .row_name = "float_rows_portable",
    .pixels = kPixels,
    .panel = kPanel,
    .multiply = multiply,
    .combine = combine,
    .find_results = find_results,
};
}  // namespace onebit
