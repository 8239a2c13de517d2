// The real-valued convolution for 64-bit ARM: 6 pixels x 16 channels in registers.
#include <arm_neon.h>

#include "kernels/float_conv/float_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

struct Vec {
  static constexpr size_t kLanes = 4;
  float32x4_t x;

  ONEBIT_INLINE static Vec zero() { return {vdupq_n_f32(0.0f)}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {vld1q_f32(p)}; }
  ONEBIT_INLINE void store(float* p) const { vst1q_f32(p, x); }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return {vld1q_dup_f32(p)}; }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {vaddq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {vsubq_f32(a.x, b.x)}; }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.x, a.x, b.x)}; }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_neon = {Isa::neon, "float_conv_neon", "float_rows_neon", kPixels,
                                         kPanel,    multiply,          combine,           find_results};
}  // namespace onebit
