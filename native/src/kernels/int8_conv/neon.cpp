// The int8 convolution for every 64-bit ARM: signed bytes multiplied to 16 bits, pairs of products added to 32-bit
// sums, two for each output channel until the end. 3 pixels x 16 channels in registers.
#include "kernels/vec/neon.h"

#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

struct Sum {
  int32x4_t first, last;  // of channels 0 and 1, 2 and 3

  ONEBIT_INLINE static Sum start(const int32_t* p) {
    const int32x4_t sums = vld1q_s32(p), zero = vdupq_n_s32(0);
    return {vzip1q_s32(sums, zero), vzip2q_s32(sums, zero)};
  }
  ONEBIT_INLINE void add(IntVec pixel, IntVec weights) {
    const int8x16_t x = vreinterpretq_s8_s32(pixel.x), w = vreinterpretq_s8_s32(weights.x);
    first = vpadalq_s16(first, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
    last = vpadalq_s16(last, vmull_high_s8(x, w));
  }
  ONEBIT_INLINE IntVec total() const { return {vpaddq_s32(first, last)}; }
};

constexpr size_t kPixels = 3;
constexpr size_t kVectors = 4;  // 3 pixels x 4 vectors x 2: 24 of 32 registers are accumulators

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_neon = {
    .isa = Isa::neon,
    .feature = Feature::none,
    .name = "int8_conv_neon",
    .pixels = kPixels,
    .panel = kPanel,
    .value_bytes = 1,
    .word_values = 4,
    .offset = 128,  // pixels minus this are signed bytes
    .multiply = multiply,
};
}  // namespace onebit
