// The limit of NEON with SDOT: one instruction for 16 int8 products.
#include <arm_neon.h>

#include "kernels/limits/limits.h"

namespace onebit {
namespace {

#if defined(ONEBIT_FORGET)
constexpr size_t kSums = 24;

void multiply(size_t rounds) {
  int8x16_t a = vdupq_n_s8(1), b = a;
  ONEBIT_FORGET(a);
  ONEBIT_FORGET(b);
  add_up<kSums>(rounds, vdupq_n_s32(0), [&](int32x4_t sum) ONEBIT_INLINE_LAMBDA { return vdotq_s32(sum, a, b); });
}

constexpr LimitLoop kInt8{kSums * 16, multiply, Feature::dot_product};
#else
constexpr LimitLoop kInt8;
#endif

}  // namespace

const LimitLoops limits_neon_dot = {.isa = Isa::neon, .int8 = kInt8};

}  // namespace onebit
