// Binary convolution for AVX2: look-ups for 32 output channels at once.
#include <immintrin.h>

#include "kernels/binary_conv/binary_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

constexpr size_t kSpans = 3;  // 3 spans x 2 vectors x (low, high): 12 of 16 registers accumulate

struct Vec {
  static constexpr size_t kBytes = 32;
  __m256i x;

  ONEBIT_INLINE static Vec zero() { return {_mm256_setzero_si256()}; }
  ONEBIT_INLINE static Vec load(const uint8_t* p) { return {_mm256_load_si256(reinterpret_cast<const __m256i*>(p))}; }
  ONEBIT_INLINE static Vec rows(const uint8_t* p) {
    return {_mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  ONEBIT_INLINE static Vec bytes(int8_t value) { return {_mm256_set1_epi8(value)}; }
  ONEBIT_INLINE static Vec shorts(int16_t value) { return {_mm256_set1_epi16(value)}; }
  ONEBIT_INLINE static Vec shuffle(Vec rows, Vec weights) { return {_mm256_shuffle_epi8(rows.x, weights.x)}; }
  ONEBIT_INLINE static Vec add8(Vec a, Vec b) { return {_mm256_add_epi8(a.x, b.x)}; }
  ONEBIT_INLINE static Vec add16(Vec a, Vec b) { return {_mm256_add_epi16(a.x, b.x)}; }
  ONEBIT_INLINE static Vec sub16(Vec a, Vec b) { return {_mm256_sub_epi16(a.x, b.x)}; }
  ONEBIT_INLINE static Vec and_bits(Vec a, Vec b) { return {_mm256_and_si256(a.x, b.x)}; }
  ONEBIT_INLINE static Vec shift4(Vec a) { return {_mm256_srli_epi16(a.x, 4)}; }
  ONEBIT_INLINE static Vec shift8(Vec a) { return {_mm256_srli_epi16(a.x, 8)}; }
  ONEBIT_INLINE static Vec keep(Vec a) {
    ONEBIT_KEEP_IN_REGISTER(a.x);
    return a;
  }
  ONEBIT_INLINE static void write(Vec u16, int32_t* to, bool first_time) {
    auto* out = reinterpret_cast<__m256i*>(to);
    __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(u16.x));
    __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(u16.x, 1));
    if (!first_time) {
      low = _mm256_add_epi32(low, _mm256_loadu_si256(out));
      high = _mm256_add_epi32(high, _mm256_loadu_si256(out + 1));
    }
    _mm256_storeu_si256(out, low);
    _mm256_storeu_si256(out + 1, high);
  }
};

}  // namespace
}  // namespace onebit

#include "kernels/binary_conv/lookup.h"

namespace onebit {
const BinaryConvKernel binary_conv_avx2 = {
    Isa::avx2, "binary_conv_avx2", kSpans * kSpan, kSpan, kWordBytes, kNibbles, 1, prepare, pack_weights, count};
}  // namespace onebit
