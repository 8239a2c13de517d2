// The limits of NEON: XOR, count, add for 128 binary products, one fused multiply-add for 4 float products, and one
// multiplication of bytes and one pairwise addition for 8 int8 products.
#include <arm_neon.h>

#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 24;

void count(size_t rounds) {
  uint8x16_t activation = vdupq_n_u8(0), weight = activation;
  ONEBIT_FORGET(weight);
  add_up<kSums>(rounds, vdupq_n_u8(0), [&](uint8x16_t sum) ONEBIT_INLINE_LAMBDA {
    ONEBIT_FORGET(activation);
    return vaddq_u8(sum, vcntq_u8(veorq_u8(activation, weight)));
  });
}

void multiply(size_t rounds) {
  float32x4_t a = vdupq_n_f32(1.0f), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, vdupq_n_f32(0.0f), [&](float32x4_t sum) ONEBIT_INLINE_LAMBDA { return vfmaq_f32(sum, a, b); });
}

void multiply_bytes(size_t rounds) {
  int8x8_t a = vdup_n_s8(1), b = a;
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, vdupq_n_s32(0), [&](int32x4_t sum) ONEBIT_INLINE_LAMBDA {
    ONEBIT_FORGET(a);
    return vpadalq_s16(sum, vmull_s8(a, b));
  });
}

constexpr LimitLoop kBinary{kSums * 128, count}, kFloat{kSums * 4, multiply}, kInt8{kSums * 8, multiply_bytes};
#else
constexpr LimitLoop kBinary, kFloat, kInt8;
#endif

}  // namespace

const LimitLoops limits_neon = {.isa = Isa::neon, .binary = kBinary, .float32 = kFloat, .int8 = kInt8};

}  // namespace onebit
