// What both int8 convolutions for 64-bit ARM share: words of four signed bytes.
#pragma once

#include <arm_neon.h>

#include "kernels/inline.h"
#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

constexpr int32_t kOffset = 128;  // pixels minus this are signed bytes

struct Word {
  static constexpr ptrdiff_t kBytes = 4;
  int8x16_t s8x16;

  ONEBIT_INLINE static Word load(const uint8_t* p) {
    uint32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return {vreinterpretq_s8_u32(vdupq_n_u32(word))};
  }
};

struct Weights {
  static constexpr size_t kBytes = 16;
  int8x16_t s8x16;

  ONEBIT_INLINE static Weights load(const uint8_t* p) { return {vreinterpretq_s8_u8(vld1q_u8(p))}; }
};

ONEBIT_INLINE void store_scaled(int32x4_t sum, const float* scale, float* y) {
  vst1q_f32(y, vmulq_f32(vld1q_f32(scale), vcvtq_f32_s32(sum)));
}

}  // namespace
}  // namespace onebit
