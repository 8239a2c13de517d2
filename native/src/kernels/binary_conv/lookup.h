// Binary convolution by table look-up, for vectors without a popcount: multiplies and counts at once, for two pixels at
// a time. Included once per instruction set by a file that first defines, in its own unnamed namespace, kSpans, the
// spans of a tile, and
//   Vec   kBytes bytes: zero, load (aligned), rows (16 bytes, in every 128 bits), shuffle(rows, weights), add8, add16,
//         sub16, and_bits, shift4 and shift8 (16 bits to the right), bytes and shorts (one value everywhere), keep,
//         write(16-bit sums, 32-bit result, first time)
// No include guard: every including file compiles its own copy for its own instruction set.
//
// AVX2 and the first AVX-512 CPUs have no vector popcount. The usual way (xor, split into nibbles, look up the count of
// each) spends two shuffles and six other operations on 256 products. Here the activations choose the table instead:
// for one nibble a of the activations (4 channels of one tap) the row T[a][w] holds the number of bits in which a
// weight nibble w differs from a. Weights are stored one nibble a byte, as many output channels as a vector has bytes,
// so one shuffle of the broadcast row by the weights counts 4 products for each of them, and nothing crosses lanes.
//
// A count of 0 ... 4 would waste most of its byte. So a row serves a span of two pixels with the nibbles a and b: the
// low half of T[a, b][w] counts for the first, the high half for the second. Three look-ups add up to 12 at most in
// each half before the halves must be parted:
//   low += sum & 0x0F in bytes;  high += sum >> 4 in 16 bits, not masked.
// The shift moves the low half of the odd byte into the high half of the even one, so `high` gathers, modulo 2^16,
// H0 + 16 L1 + 256 H1, where L1 is known from `low`; as H0 and H1 stay below 256, they follow exactly. That makes 9
// operations for 3 look-ups of two pixels, where one pixel a byte takes 12 and the usual way 24.
//
// The bytes hold 7 words of counts (56 nibbles, 224 at most) and are then widened to 16 bits. Of the channels in a
// vector the first half sits in the even bytes and the last half in the odd ones, so that widening by mask and shift
// leaves both in their natural order. Prepared activations are the offsets of the rows, 16 bits a nibble.

namespace onebit {
namespace {

constexpr size_t kSpan = 2;
constexpr size_t kVectors = kBlock / Vec::kBytes;
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
  const __m128i zero = _mm_setzero_si128();
  auto* out = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(out, _mm_slli_epi16(_mm_unpacklo_epi8(ab, zero), 4));
  _mm_storeu_si128(out + 1, _mm_slli_epi16(_mm_unpackhi_epi8(ab, zero), 4));
}

void prepare(const uint32_t* row, size_t pixels, size_t words, size_t distance, uint8_t* prepared) {
  const __m128i low = _mm_set1_epi8(0x0F), high = _mm_set1_epi8(static_cast<char>(0xF0));
  const size_t count = pixels * words;
  for (size_t i = 0; i < count; i += 4) {
    const __m128i a = load_words(row + i), b = load_words(row + i + distance * words);
    const __m128i even = _mm_or_si128(_mm_and_si128(a, low), _mm_slli_epi16(_mm_and_si128(b, low), 4));
    const __m128i odd = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(a, 4), low), _mm_and_si128(b, high));
    alignas(16) uint8_t tail[4 * kWordBytes];
    uint8_t* to = count - i >= 4 ? prepared + i * kWordBytes : tail;
    store_offsets(to, _mm_unpacklo_epi8(even, odd));
    store_offsets(to + 2 * kWordBytes, _mm_unpackhi_epi8(even, odd));
    if (to == tail) __builtin_memcpy(prepared + i * kWordBytes, tail, (count - i) * kWordBytes);
  }
}

void pack_weights(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed) {
  for (size_t w = 0; w < runs * run_words; ++w) {
    for (size_t n = 0; n < kNibbles; ++n) {
      for (size_t c = 0; c < channels; ++c) {
        constexpr size_t kHalf = Vec::kBytes / 2;
        const size_t vector = c / Vec::kBytes, lane = c % Vec::kBytes;
        const size_t byte = Vec::kBytes * vector + (lane < kHalf ? 2 * lane : 2 * (lane - kHalf) + 1);
        packed[(w * kNibbles + n) * kBlock + byte] = static_cast<uint8_t>(rows[c][w] >> (4 * n) & 15);
      }
    }
  }
}

// The sums of a tile between the byte accumulators and the 32-bit result.
template <size_t spans, size_t vectors>
struct ShortSums {
  Vec u16[spans][vectors][kSpan][2];  // [..][first or last half of the channels]

  void clear() {
    for (auto& span : u16) {
      for (auto& vector : span) {
        for (auto& pixel : vector) pixel[0] = pixel[1] = Vec::zero();
      }
    }
  }

  // Takes over what 7 words have left in `low` and `high` (see above).
  ONEBIT_INLINE void widen(size_t span, size_t vector, Vec low, Vec high) {
    const Vec even_byte = Vec::shorts(0x00FF);
    high = Vec::sub16(high, Vec::and_bits(Vec::shift4(low), Vec::shorts(0x0FF0)));
    auto& [first, second] = u16[span][vector];
    first[0] = Vec::add16(first[0], Vec::and_bits(low, even_byte));
    first[1] = Vec::add16(first[1], Vec::shift8(low));
    second[0] = Vec::add16(second[0], Vec::and_bits(high, even_byte));
    second[1] = Vec::add16(second[1], Vec::shift8(high));
  }

  // Moves everything to the result: stores it the first time, adds it later.
  void flush(int32_t* diff, bool first_time) {
    for (size_t s = 0; s < spans; ++s) {
      for (size_t v = 0; v < vectors; ++v) {
        for (size_t i = 0; i < 2 * kSpan; ++i) {
          int32_t* out = diff + (s * kSpan + i / 2) * kBlock + Vec::kBytes * v + Vec::kBytes / 2 * (i % 2);
          Vec::write(u16[s][v][i / 2][i % 2], out, first_time);
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
  Vec low[kSums], high[kSums];
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { low[i] = high[i] = Vec::zero(); });
  const auto widen = [&]() ONEBIT_INLINE_LAMBDA {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      sums.widen(i / vectors, i % vectors, low[i], high[i]);
      low[i] = high[i] = Vec::zero();
    });
  };
  // Looks up the nibbles from `first` to `last` of a word and parts the halves.
  const auto add_nibbles = [&](auto first, auto last, ptrdiff_t at) ONEBIT_INLINE_LAMBDA {
    unroll<spans>([&](auto s) ONEBIT_INLINE_LAMBDA {
      Vec sum[vectors];
      unroll<last - first>([&](auto n) ONEBIT_INLINE_LAMBDA {
        uint16_t offset;
        __builtin_memcpy(&offset, span[s] + at + 2 * (first + n), sizeof offset);
        const Vec rows = Vec::rows(table + offset);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          const Vec counts = Vec::shuffle(rows, Vec::load(weights + (first + n) * kBlock + Vec::kBytes * v));
          if (n == 0) {
            sum[v] = counts;
          } else {
            sum[v] = Vec::keep(Vec::add8(sum[v], counts));
          }
        });
      });
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        const size_t i = s * vectors + v;
        low[i] = Vec::keep(Vec::add8(low[i], Vec::and_bits(sum[v], Vec::bytes(0x0F))));
        high[i] = Vec::keep(Vec::add16(high[i], Vec::shift4(sum[v])));
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
  if constexpr (kVectors > 1) {
    if (t.channels <= Vec::kBytes) return count_tile<spans, 1>(t);
  }
  count_tile<spans, kVectors>(t);
}

template <size_t spans>
void count_at_most(const BinaryTile& t) {
  if (t.span_count == spans) return count_spans<spans>(t);
  if constexpr (spans > 1) count_at_most<spans - 1>(t);
}

void count(const BinaryTile& t) { count_at_most<kSpans>(t); }

}  // namespace
}  // namespace onebit
