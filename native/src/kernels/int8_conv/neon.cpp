// The int8 convolution for every 64-bit ARM: signed bytes multiplied to 16 bits, pairs of products added to 32-bit
// sums, two for each output channel until the end. 3 pixels x 16 channels in registers.
#include "kernels/int8_conv/neon_words.h"

namespace onebit {
namespace {

struct Sum {
  static constexpr size_t kLanes = 4;
  int32x4_t first, last;  // of channels 0 and 1, 2 and 3

  ONEBIT_INLINE static Sum start(const int32_t* p) {
    const int32x4_t sums = vld1q_s32(p), zero = vdupq_n_s32(0);
    return {vzip1q_s32(sums, zero), vzip2q_s32(sums, zero)};
  }
  ONEBIT_INLINE void add(Word x, Weights w) {
    first = vpadalq_s16(first, vmull_s8(vget_low_s8(x.s8x16), vget_low_s8(w.s8x16)));
    last = vpadalq_s16(last, vmull_high_s8(x.s8x16, w.s8x16));
  }
  ONEBIT_INLINE void store(const float* scale, float* y) const { store_scaled(vpaddq_s32(first, last), scale, y); }
};

constexpr size_t kPixels = 3;
constexpr size_t kVectors = 4;  // 3 pixels x 4 vectors x 2: 24 of 32 registers accumulate

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_neon = {Isa::neon, Feature::none, "int8_conv_neon", kPixels, kPanel, 1,
                                       4,         kOffset,       multiply};
}  // namespace onebit
