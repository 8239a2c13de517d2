// The real-valued convolution for AVX-512: 8 pixels x 32 channels in registers.
#include "kernels/avx512.h"

#include "kernels/float_conv/float_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

struct Vec {
  static constexpr size_t kLanes = 16;
  __m512 x;

  ONEBIT_INLINE static Vec zero() { return {_mm512_setzero_ps()}; }
  ONEBIT_INLINE static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  ONEBIT_INLINE void store(float* p) const { _mm512_storeu_ps(p, x); }
  ONEBIT_INLINE static Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.x, b.x)}; }
  ONEBIT_INLINE static Vec broadcast(const float* p) { return {_mm512_set1_ps(*p)}; }
  ONEBIT_INLINE static Vec multiply_add(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
};

constexpr size_t kPixels = 8;
constexpr size_t kVectors = 2;

}  // namespace
}  // namespace onebit

#include "kernels/float_conv/body.h"

namespace onebit {
const FloatConvKernel float_conv_avx512 = {
    Isa::avx512bw, "float_conv_avx512", "float_rows_avx512", kPixels, kPanel, multiply, combine, find_results};
}  // namespace onebit
