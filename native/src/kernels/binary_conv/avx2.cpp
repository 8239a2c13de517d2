// Binary convolution for AVX2: a table look-up that counts and multiplies at once.
//
// AVX2 has no vector popcount. The usual way (xor, split into nibbles, look up the count of each) spends two shuffles
// and six other operations on 256 products. Here the activation chooses the table instead: for one nibble a of the
// activations (4 channels of one tap) the row T[a][w] holds the number of bits in which a weight nibble w differs from
// a. Weights are stored one nibble a byte, 32 output channels a vector, so one vpshufb of the broadcast row T[a] by the
// weights counts 4 products for 32 output channels, and one byte addition accumulates them: 128 products in two
// operations, nothing crosses lanes. The bound is two shuffles a cycle: 256 products.
//
// Activations are expanded to one byte a nibble, already shifted left by 4: the offset of T's row. A byte accumulator
// holds 63 nibbles (4 differences each at most); it is widened to 16 bits every 7 words (56 nibbles). Of the 32
// channels in a vector the first 16 sit in the even bytes and the last 16 in the odd ones, so that widening by mask and
// shift leaves both halves in their natural order.
#include <immintrin.h>

#include "kernels/binary_conv/binary_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

constexpr size_t kPixels = 6;            // 6 pixels x 2 vectors of channels: 12 of 16 registers accumulate
constexpr size_t kNibbles = 8;           // in a word
constexpr size_t kWordsPerByte = 7;      // words whose counts fit in a byte
constexpr size_t kWordsPerShort = 2044;  // words whose counts fit in 16 bits, a multiple of 7

constexpr int differing_bits(int x) { return (x & 1) + (x >> 1 & 1) + (x >> 2 & 1) + (x >> 3 & 1); }

struct DifferenceTable {
  alignas(64) uint8_t row[16][16];
  constexpr DifferenceTable() : row() {
    for (int a = 0; a < 16; ++a) {
      for (int w = 0; w < 16; ++w) row[a][w] = static_cast<uint8_t>(differing_bits(a ^ w));
    }
  }
};
constexpr DifferenceTable kTable;

void expand(const uint32_t* words, size_t count, uint8_t* prepared) {
  const __m128i high = _mm_set1_epi8(static_cast<char>(0xF0));
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words + i));
    const __m128i low_nibbles = _mm_and_si128(_mm_slli_epi16(x, 4), high), high_nibbles = _mm_and_si128(x, high);
    __m128i* out = reinterpret_cast<__m128i*>(prepared + i * kNibbles);
    _mm_storeu_si128(out, _mm_unpacklo_epi8(low_nibbles, high_nibbles));
    _mm_storeu_si128(out + 1, _mm_unpackhi_epi8(low_nibbles, high_nibbles));
  }
  for (; i < count; ++i) {
    for (size_t n = 0; n < kNibbles; ++n) {
      prepared[i * kNibbles + n] = static_cast<uint8_t>((words[i] >> (4 * n) & 15) << 4);
    }
  }
}

void pack_weights(const uint32_t* plain, size_t words, uint8_t* packed) {
  for (size_t w = 0; w < words; ++w) {
    for (size_t n = 0; n < kNibbles; ++n) {
      for (size_t c = 0; c < kBlock; ++c) {
        const size_t vector = c / 32, lane = c % 32;
        const size_t byte = 32 * vector + (lane < 16 ? 2 * lane : 2 * (lane - 16) + 1);
        packed[(w * kNibbles + n) * kBlock + byte] = static_cast<uint8_t>(plain[w * kBlock + c] >> (4 * n) & 15);
      }
    }
  }
}

// Sums of a tile between the byte accumulators and the 32-bit result.
template <size_t pixels, size_t vectors>
struct ShortSums {
  __m256i u16x16[pixels][vectors][2];

  void clear() {
    for (auto& pixel : u16x16) {
      for (auto& vector : pixel) vector[0] = vector[1] = _mm256_setzero_si256();
    }
  }

  void add_to(int32_t* diff) const {
    for (size_t p = 0; p < pixels; ++p) {
      for (size_t v = 0; v < vectors; ++v) {
        for (size_t half = 0; half < 2; ++half) {
          auto* out = reinterpret_cast<__m256i*>(diff + p * kBlock + 32 * v + 16 * half);
          const __m256i sum = u16x16[p][v][half];
          const __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum));
          const __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(sum, 1));
          _mm256_storeu_si256(out, _mm256_add_epi32(_mm256_loadu_si256(out), low));
          _mm256_storeu_si256(out + 1, _mm256_add_epi32(_mm256_loadu_si256(out + 1), high));
        }
      }
    }
  }
};

template <size_t pixels, size_t vectors>
void count_tile(const BinaryTile& t) {
  const uint8_t* const table = kTable.row[0];
  const __m256i low_byte = _mm256_set1_epi16(0x00FF);
  const uint8_t* pixel[pixels];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA { pixel[p] = t.pixels[p]; });
  const uint8_t* weights = t.weights;

  for (size_t i = 0; i < pixels * kBlock; i += 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.diff + i), _mm256_setzero_si256());
  }
  ShortSums<pixels, vectors> sums;
  sums.clear();
  __m256i bytes[pixels * vectors];
  const auto clear = [&]() ONEBIT_INLINE_LAMBDA {
    unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA { bytes[i] = _mm256_setzero_si256(); });
  };
  const auto widen = [&]() ONEBIT_INLINE_LAMBDA {
    unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
      __m256i* sum = sums.u16x16[i / vectors][i % vectors];
      sum[0] = _mm256_add_epi16(sum[0], _mm256_and_si256(bytes[i], low_byte));
      sum[1] = _mm256_add_epi16(sum[1], _mm256_srli_epi16(bytes[i], 8));
    });
  };
  const auto add_nibble = [&](ptrdiff_t at, const uint8_t* from) ONEBIT_INLINE_LAMBDA {
    __m256i weight[vectors];
    unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
      weight[v] = _mm256_load_si256(reinterpret_cast<const __m256i*>(from + 32 * v));
    });
    unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
      const __m256i row =
          _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table + pixel[p][at])));
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        __m256i sum = _mm256_add_epi8(bytes[p * vectors + v], _mm256_shuffle_epi8(row, weight[v]));
        ONEBIT_KEEP_IN_REGISTER(sum);
        bytes[p * vectors + v] = sum;
      });
    });
  };

  clear();
  size_t byte_room = kWordsPerByte, short_room = kWordsPerShort;
  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    for (size_t left = t.run_words; left > 0;) {
      const size_t words = left < byte_room ? left : byte_room;
      for (size_t w = 0; w < words; ++w) {
        unroll<kNibbles>(
            [&](auto n) ONEBIT_INLINE_LAMBDA { add_nibble(at + static_cast<ptrdiff_t>(n), weights + n * kBlock); });
        at += kNibbles;
        weights += kNibbles * kBlock;
      }
      left -= words;
      byte_room -= words;
      if (byte_room > 0) continue;
      widen();
      clear();
      byte_room = kWordsPerByte;
      short_room -= kWordsPerByte;
      if (short_room > 0) continue;
      sums.add_to(t.diff);
      sums.clear();
      short_room = kWordsPerShort;
    }
  }
  widen();
  sums.add_to(t.diff);
}

template <size_t pixels>
void count_pixels(const BinaryTile& t) {
  t.channels > 32 ? count_tile<pixels, 2>(t) : count_tile<pixels, 1>(t);
}

void count(const BinaryTile& t) {
  constexpr void (*by_pixels[])(const BinaryTile&) = {count_pixels<1>, count_pixels<2>, count_pixels<3>,
                                                      count_pixels<4>, count_pixels<5>, count_pixels<6>};
  by_pixels[t.pixel_count - 1](t);
}

}  // namespace

const BinaryConvKernel binary_conv_avx2 = {Isa::avx2, "binary_conv_avx2", kPixels, kNibbles, kNibbles,
                                           expand,    pack_weights,       count};

}  // namespace onebit
