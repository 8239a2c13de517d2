// The int8 convolution for 64-bit ARM with SDOT: one instruction multiplies four pixel values with the weights of 4
// output channels and adds all products. 6 pixels x 16 channels in registers.
#include "kernels/int8_conv/int8_conv.h"
#include "kernels/vec/neon.h"

namespace onebit {
namespace {

// One int32 for each channel.
struct Sum {
  IntVec s32;

  ONEBIT_INLINE static Sum start(const int32_t* p) { return {IntVec::load(p)}; }
  ONEBIT_INLINE void add(IntVec pixel, IntVec weights) {
    s32.x = vdotq_s32(s32.x, vreinterpretq_s8_s32(pixel.x), vreinterpretq_s8_s32(weights.x));
  }
  ONEBIT_INLINE IntVec total() const { return s32; }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_dot = {
    .isa = Isa::neon,
    .feature = Feature::dot_product,
    .name = "int8_conv_dot",
    .pixels = kPixels,
    .panel = kPanel,
    .value_bytes = 1,
    .word_values = 4,
    .offset = 128,  // pixels minus this are signed bytes
    .multiply = multiply,
};
}  // namespace onebit
