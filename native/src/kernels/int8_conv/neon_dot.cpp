// The int8 convolution for 64-bit ARM with SDOT: one instruction multiplies four pixel values with the weights of 4
// output channels and adds all products. 6 pixels x 16 channels in registers.
#include "kernels/int8_conv/neon_words.h"

namespace onebit {
namespace {

struct Sum {
  static constexpr size_t kLanes = 4;
  int32x4_t s32x4;

  ONEBIT_INLINE static Sum start(const int32_t* p) { return {vld1q_s32(p)}; }
  ONEBIT_INLINE void add(Word x, Weights w) { s32x4 = vdotq_s32(s32x4, x.s8x16, w.s8x16); }
  ONEBIT_INLINE void store(const float* scale, float* y) const { store_scaled(s32x4, scale, y); }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_dot = {Isa::neon, Feature::dot_product, "int8_conv_dot", kPixels, kPanel, 1, 4, kOffset,
                                      multiply};
}  // namespace onebit
