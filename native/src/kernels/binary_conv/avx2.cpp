// Binary convolution for AVX2: a table look-up that multiplies and counts at once, for two pixels at a time.
//
// AVX2 has no vector popcount. The usual way (xor, split into nibbles, look up the count of each) spends two shuffles
// and six other operations on 256 products. Here the activations choose the table instead: for one nibble a of the
// activations (4 channels of one tap) the row T[a][w] holds the number of bits in which a weight nibble w differs from
// a. Weights are stored one nibble a byte, 32 output channels a vector, so one vpshufb of the broadcast row by the
// weights counts 4 products for 32 output channels, and nothing crosses lanes.
//
// A count of 0 ... 4 would waste most of its byte. So a row serves a span of two pixels with the nibbles a and b: the
// low half of T[a, b][w] counts for the first, the high half for the second. Three look-ups add up to 12 at most in
// each half before the halves must be parted:
//   low += sum & 0x0F in bytes;  high += sum >> 4 in 16 bits, not masked.
// The shift moves the low half of the odd byte into the high half of the even one, so `high` gathers, modulo 2^16,
// H0 + 16 L1 + 256 H1, where L1 is known from `low`; as H0 and H1 stay below 256, they follow exactly. That makes 9
// operations for 768 products, where one pixel a byte takes 12 and the usual way 24.
//
// The bytes hold 7 words of counts (56 nibbles, 224 at most) and are then widened to 16 bits. Of the 32 channels in a
// vector the first 16 sit in the even bytes and the last 16 in the odd ones, so that widening by mask and shift leaves
// both halves in their natural order. Prepared activations are the offsets of the rows, 16 bits a nibble.
#include <immintrin.h>

#include "kernels/binary_conv/binary_conv.h"
#include "kernels/inline.h"

namespace onebit {
namespace {

constexpr size_t kSpan = 2;
constexpr size_t kSpans = 3;    // 3 spans x 2 vectors x (low, high): 12 of 16 registers accumulate
constexpr size_t kNibbles = 8;  // in a word
constexpr size_t kWordBytes = 2 * kNibbles;
constexpr size_t kWordsPerByte = 7;      // words whose counts fit in a byte
constexpr size_t kWordsPerShort = 2044;  // words whose counts fit in 16 bits, a multiple of 7

constexpr int bit_count(int x) { return (x & 1) + (x >> 1 & 1) + (x >> 2 & 1) + (x >> 3 & 1); }

struct DifferenceTable {
  alignas(64) uint8_t row[256][16];  // [first nibble + 16 * second nibble][weight nibble]
  constexpr DifferenceTable() : row() {
    for (int ab = 0; ab < 256; ++ab) {
      for (int w = 0; w < 16; ++w) {
        row[ab][w] = static_cast<uint8_t>(bit_count((ab & 15) ^ w) + 16 * bit_count((ab >> 4) ^ w));
      }
    }
  }
};
constexpr DifferenceTable kTable;

template <size_t value>
constexpr std::integral_constant<size_t, value> constant{};

ONEBIT_INLINE __m128i load_words(const uint32_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// Writes 16 offsets for two words of each pixel; `ab` holds first nibble + 16 * second nibble.
ONEBIT_INLINE void store_offsets(uint8_t* to, __m128i ab) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_slli_epi16(_mm256_cvtepu8_epi16(ab), 4));
}

void prepare(const uint32_t* row, size_t pixels, size_t words, size_t distance, uint8_t* prepared) {
  const __m128i low = _mm_set1_epi8(0x0F), high = _mm_set1_epi8(static_cast<char>(0xF0));
  const size_t count = pixels * words;
  for (size_t i = 0; i < count; i += 4) {
    const __m128i a = load_words(row + i), b = load_words(row + i + distance * words);
    const __m128i even = _mm_or_si128(_mm_and_si128(a, low), _mm_slli_epi16(_mm_and_si128(b, low), 4));
    const __m128i odd = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(a, 4), low), _mm_and_si128(b, high));
    alignas(32) uint8_t tail[4 * kWordBytes];
    uint8_t* to = count - i >= 4 ? prepared + i * kWordBytes : tail;
    store_offsets(to, _mm_unpacklo_epi8(even, odd));
    store_offsets(to + 2 * kWordBytes, _mm_unpackhi_epi8(even, odd));
    if (to == tail) __builtin_memcpy(prepared + i * kWordBytes, tail, (count - i) * kWordBytes);
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

// The sums of a tile between the byte accumulators and the 32-bit result.
template <size_t spans, size_t vectors>
struct ShortSums {
  __m256i u16x16[spans][vectors][kSpan][2];  // [..][first or last 16 channels]

  void clear() {
    for (auto& span : u16x16) {
      for (auto& vector : span) {
        for (auto& pixel : vector) pixel[0] = pixel[1] = _mm256_setzero_si256();
      }
    }
  }

  // Takes over what 7 words have left in `low` and `high` (see above).
  ONEBIT_INLINE void widen(size_t span, size_t vector, __m256i low, __m256i high) {
    const __m256i even_byte = _mm256_set1_epi16(0x00FF), middle = _mm256_set1_epi16(0x0FF0);
    high = _mm256_sub_epi16(high, _mm256_and_si256(_mm256_srli_epi16(low, 4), middle));
    auto& [first, second] = u16x16[span][vector];
    first[0] = _mm256_add_epi16(first[0], _mm256_and_si256(low, even_byte));
    first[1] = _mm256_add_epi16(first[1], _mm256_srli_epi16(low, 8));
    second[0] = _mm256_add_epi16(second[0], _mm256_and_si256(high, even_byte));
    second[1] = _mm256_add_epi16(second[1], _mm256_srli_epi16(high, 8));
  }

  // Moves everything to the result: stores it the first time, adds it later.
  void flush(int32_t* diff, bool first_time) {
    for (size_t s = 0; s < spans; ++s) {
      for (size_t v = 0; v < vectors; ++v) {
        for (size_t i = 0; i < 2 * kSpan; ++i) {
          const __m256i sum = u16x16[s][v][i / 2][i % 2];
          auto* out = reinterpret_cast<__m256i*>(diff + (s * kSpan + i / 2) * kBlock + 32 * v + 16 * (i % 2));
          __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum));
          __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(sum, 1));
          if (!first_time) {
            low = _mm256_add_epi32(low, _mm256_loadu_si256(out));
            high = _mm256_add_epi32(high, _mm256_loadu_si256(out + 1));
          }
          _mm256_storeu_si256(out, low);
          _mm256_storeu_si256(out + 1, high);
        }
      }
    }
    clear();
  }
};

template <size_t spans, size_t vectors>
void count_tile(const BinaryTile& t) {
  constexpr size_t kSums = spans * vectors;
  const uint8_t* const table = kTable.row[0];
  const uint8_t* span[spans];
  unroll<spans>([&](auto s) ONEBIT_INLINE_LAMBDA { span[s] = t.spans[s]; });
  const uint8_t* weights = t.weights;
  ShortSums<spans, vectors> sums;
  sums.clear();
  __m256i low[kSums], high[kSums];
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { low[i] = high[i] = _mm256_setzero_si256(); });
  const auto widen = [&]() ONEBIT_INLINE_LAMBDA {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      sums.widen(i / vectors, i % vectors, low[i], high[i]);
      low[i] = high[i] = _mm256_setzero_si256();
    });
  };
  // Looks up the nibbles from `first` to `last` of a word and parts the halves.
  const auto add_nibbles = [&](auto first, auto last, ptrdiff_t at) ONEBIT_INLINE_LAMBDA {
    unroll<spans>([&](auto s) ONEBIT_INLINE_LAMBDA {
      __m256i sum[vectors];
      unroll<last - first>([&](auto n) ONEBIT_INLINE_LAMBDA {
        uint16_t offset;
        __builtin_memcpy(&offset, span[s] + at + 2 * (first + n), sizeof offset);
        const auto* row = reinterpret_cast<const __m128i*>(table + offset);
        const __m256i rows = _mm256_broadcastsi128_si256(_mm_load_si128(row));
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          const auto* weight = reinterpret_cast<const __m256i*>(weights + (first + n) * kBlock + 32 * v);
          const __m256i counts = _mm256_shuffle_epi8(rows, _mm256_load_si256(weight));
          if constexpr (n == 0) {
            sum[v] = counts;
          } else {
            __m256i added = _mm256_add_epi8(sum[v], counts);
            ONEBIT_KEEP_IN_REGISTER(added);
            sum[v] = added;
          }
        });
      });
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        constexpr size_t i = s * vectors + v;
        __m256i l = _mm256_add_epi8(low[i], _mm256_and_si256(sum[v], _mm256_set1_epi8(0x0F)));
        ONEBIT_KEEP_IN_REGISTER(l);
        low[i] = l;
        __m256i h = _mm256_add_epi16(high[i], _mm256_srli_epi16(sum[v], 4));
        ONEBIT_KEEP_IN_REGISTER(h);
        high[i] = h;
      });
    });
  };

  size_t byte_room = kWordsPerByte, short_room = kWordsPerShort;
  bool first_time = true;
  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    for (size_t left = t.run_words; left > 0;) {
      const size_t words = left < byte_room ? left : byte_room;
      for (size_t w = 0; w < words; ++w) {
        add_nibbles(constant<0>, constant<3>, at);
        add_nibbles(constant<3>, constant<6>, at);
        add_nibbles(constant<6>, constant<8>, at);
        at += kWordBytes;
        weights += kNibbles * kBlock;
      }
      left -= words;
      byte_room -= words;
      if (byte_room > 0) continue;
      widen();
      byte_room = kWordsPerByte;
      short_room -= kWordsPerByte;
      if (short_room > 0) continue;
      sums.flush(t.diff, first_time);
      first_time = false;
      short_room = kWordsPerShort;
    }
  }
  widen();
  sums.flush(t.diff, first_time);
}

template <size_t spans>
void count_spans(const BinaryTile& t) {
  t.channels > 32 ? count_tile<spans, 2>(t) : count_tile<spans, 1>(t);
}

void count(const BinaryTile& t) {
  constexpr void (*by_spans[kSpans])(const BinaryTile&) = {count_spans<1>, count_spans<2>, count_spans<3>};
  by_spans[t.span_count - 1](t);
}

}  // namespace

const BinaryConvKernel binary_conv_avx2 = {Isa::avx2, "binary_conv_avx2", kSpans * kSpan, kSpan, kWordBytes, kNibbles,
                                           prepare,   pack_weights,       count};

}  // namespace onebit
