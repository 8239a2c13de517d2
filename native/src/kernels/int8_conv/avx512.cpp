// The int8 convolution for AVX-512 with VNNI: one instruction multiplies four pixel values with the weights of 16
// output channels and adds all products, exactly. 6 pixels x 64 channels in registers.
#include "kernels/avx512.h"

#include "kernels/inline.h"
#include "kernels/int8_conv/int8_conv.h"

namespace onebit {
namespace {

struct Word {
  static constexpr ptrdiff_t kBytes = 4;
  __m512i u8x64;

  ONEBIT_INLINE static Word load(const uint8_t* p) {
    int32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return {_mm512_set1_epi32(word)};
  }
};

struct Weights {
  static constexpr size_t kBytes = 64;
  __m512i s8x64;

  ONEBIT_INLINE static Weights load(const uint8_t* p) { return {_mm512_load_si512(p)}; }
};

struct Sum {
  static constexpr size_t kLanes = 16;
  __m512i s32x16;

  ONEBIT_INLINE static Sum start(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  ONEBIT_INLINE void add(Word x, Weights w) { s32x16 = _mm512_dpbusd_epi32(s32x16, x.u8x64, w.s8x64); }
  ONEBIT_INLINE void store(const float* scale, float* y) const {
    _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_loadu_ps(scale), _mm512_cvtepi32_ps(s32x16)));
  }
};

constexpr size_t kPixels = 6;
constexpr size_t kVectors = 4;

}  // namespace
}  // namespace onebit

#include "kernels/int8_conv/body.h"

namespace onebit {
const Int8ConvKernel int8_conv_vnni = {Isa::avx512bw, Feature::vnni, "int8_conv_vnni", kPixels, kPanel, 1, 4, 0,
                                       multiply};
}  // namespace onebit
