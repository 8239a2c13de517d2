// The int8 convolution for AVX2: sums of byte products would saturate, so pixels and weights are widened to 16 bits and
// multiplied in pairs, 8 output channels at a time. 6 pixels x 16 channels in registers.
#include "kernels/vec/avx2.h"

#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

// One int32 for each channel.
struct Sum {
  IntVec s32;

  ONEBIT_INLINE static Sum start(const int32_t* p) { return {IntVec::load(p)}; }
  ONEBIT_INLINE void add(IntVec pixel, IntVec weights) {
    s32 = IntVec::add(s32, {_mm256_madd_epi16(pixel.x, weights.x)});
  }
  ONEBIT_INLINE IntVec total() const { return s32; }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_avx2 = {
    .isa = Isa::avx2,
    .feature = Feature::none,
    .name = "int8_conv_avx2",
    .pixels = kPixels,
    .panel = kPanel,
    .value_bytes = 2,
    .word_values = 2,
    .offset = 0,
    .multiply = multiply,
};
}  // namespace onebit
