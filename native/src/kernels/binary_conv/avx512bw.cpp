// Binary convolution for AVX-512 without VPOPCNTDQ: look-ups for 64 output channels at once.
#include <emmintrin.h>

#include "kernels/avx512.h"
#include "kernels/binary_conv/binary_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

constexpr size_t kSpans = 6;  // 6 spans x (low, high): 12 of 32 registers accumulate

struct Vec {
  static constexpr size_t kBytes = 64;
  __m512i x;

  ONEBIT_INLINE static Vec zero() { return {_mm512_setzero_si512()}; }
  ONEBIT_INLINE static Vec load(const uint8_t* p) { return {_mm512_load_si512(p)}; }
  ONEBIT_INLINE static Vec rows(const uint8_t* p) {
    return {_mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  ONEBIT_INLINE static Vec bytes(int8_t value) { return {_mm512_set1_epi8(value)}; }
  ONEBIT_INLINE static Vec shorts(int16_t value) { return {_mm512_set1_epi16(value)}; }
  ONEBIT_INLINE static Vec shuffle(Vec rows, Vec weights) { return {_mm512_shuffle_epi8(rows.x, weights.x)}; }
  ONEBIT_INLINE static Vec add8(Vec a, Vec b) { return {_mm512_add_epi8(a.x, b.x)}; }
  ONEBIT_INLINE static Vec add16(Vec a, Vec b) { return {_mm512_add_epi16(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub16(Vec a, Vec b) { return {_mm512_sub_epi16(a.x, b.x)}; }
  ONEBIT_INLINE static Vec and_bits(Vec a, Vec b) { return {_mm512_and_si512(a.x, b.x)}; }
  ONEBIT_INLINE static Vec shift4(Vec a) { return {_mm512_srli_epi16(a.x, 4)}; }
  ONEBIT_INLINE static Vec shift8(Vec a) { return {_mm512_srli_epi16(a.x, 8)}; }
  ONEBIT_INLINE static Vec keep(Vec a) {
    ONEBIT_KEEP_IN_REGISTER(a.x);
    return a;
  }
  ONEBIT_INLINE static void write(Vec u16, int32_t* out, bool first_time) {
    __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(u16.x));
    __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(u16.x, 1));
    if (!first_time) {
      low = _mm512_add_epi32(low, _mm512_loadu_si512(out));
      high = _mm512_add_epi32(high, _mm512_loadu_si512(out + 16));
    }
    _mm512_storeu_si512(out, low);
    _mm512_storeu_si512(out + 16, high);
  }
};

}  // namespace
}  // namespace onebit

#include "kernels/binary_conv/lookup.h"

namespace onebit {
const BinaryConvKernel binary_conv_avx512bw = {
    Isa::avx512bw, "binary_conv_avx512bw", kSpans * kSpan, kSpan, kWordBytes, kNibbles, 1,
    prepare,       pack_weights,           count};
}  // namespace onebit
