// Binary convolution by table lookup, for CPUs without a vector popcount: multiplies and counts in one step, for two
// pixels at once. Included once per instruction set, after its kernels/vec header and kSpans, the spans of a tile.
// No include guard: every including file compiles its own copy for its own instruction set.
//
// The usual method (XOR, split into nibbles, look up the count of each) takes two shuffles and six other instructions
// for 256 products. Here the activations select the table instead: for one nibble a of the activations (4 channels of
// one tap), row T[a][w] holds the number of bits in which a weight nibble w differs from a. Weights are stored one
// nibble per byte, for as many output channels as a vector has bytes. One shuffle of the broadcast row by the weights
// then counts 4 products for each of these channels, without crossing lanes.
//
// A count of 0 ... 4 uses only part of its byte, so a row serves a span of two pixels with the nibbles a and b: the low
// half of T[a, b][w] is the count of the first, the high half that of the second. Three lookups add up to 12 at most in
// each half before the halves must be separated:
//   low += sum & 0x0F in bytes;  high += sum >> 4 in 16 bits, not masked.
// The shift moves the low half of the odd byte into the high half of the even one, so `high` accumulates, modulo 2^16,
// H0 + 16 L1 + 256 H1. L1 is known from `low`, and H0 and H1 stay below 256, so both can be recovered exactly. This is
// 9 instructions for 3 lookups of two pixels; with one pixel per byte it would be 12, with the usual method 24.
//
// A byte holds the counts of 7 words (56 nibbles, 224 at most), which are then widened to 16 bits. The first half of a
// vector's channels is stored in its even bytes, the last half in its odd ones, so that widening by mask and shift
// leaves both in order. Prepared activations are the offsets of the rows in the table, 16 bits per nibble.

namespace onebit {
namespace {

constexpr size_t kSpan = 2;
constexpr size_t kVectors = kBlock / ByteVec::kBytes;
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
        constexpr size_t kHalf = ByteVec::kBytes / 2;
        const size_t vector = c / ByteVec::kBytes, lane = c % ByteVec::kBytes;
        const size_t byte = ByteVec::kBytes * vector + (lane < kHalf ? 2 * lane : 2 * (lane - kHalf) + 1);
        packed[(w * kNibbles + n) * kBlock + byte] = static_cast<uint8_t>(rows[c][w] >> (4 * n) & 15);
      }
    }
  }
}

// Adds 16-bit counts to the result, or stores them the first time.
ONEBIT_INLINE void add_to(int32_t* out, ByteVec u16, bool first_time) {
  IntVec first = ByteVec::widen_first(u16), last = ByteVec::widen_last(u16);
  if (!first_time) {
    first = IntVec::add(first, IntVec::load(out));
    last = IntVec::add(last, IntVec::load(out + Vec::kLanes));
  }
  first.store(out);
  last.store(out + Vec::kLanes);
}

// The 16-bit accumulators of a span and a vector of weights, between those of 8 bits and the 32-bit result.
struct ShortSums {
  ByteVec u16[kSpan][2];  // [pixel][first or last half of the channels]

  void clear() {
    for (auto& pixel : u16) pixel[0] = pixel[1] = ByteVec::zero();
  }

  // Adds the counts of 7 words in `low` and `high`, see above.
  ONEBIT_INLINE void widen(ByteVec low, ByteVec high) {
    const ByteVec even_byte = ByteVec::shorts(0x00FF);
    high = ByteVec::sub16(high, ByteVec::bit_and(ByteVec::shift_right16<4>(low), ByteVec::shorts(0x0FF0)));
    auto& [first, second] = u16;
    first[0] = ByteVec::add16(first[0], ByteVec::bit_and(low, even_byte));
    first[1] = ByteVec::add16(first[1], ByteVec::shift_right16<8>(low));
    second[0] = ByteVec::add16(second[0], ByteVec::bit_and(high, even_byte));
    second[1] = ByteVec::add16(second[1], ByteVec::shift_right16<8>(high));
  }

  // Adds everything to the result of the first pixel, at `diff`, and of the next one, and starts from zero.
  void flush(int32_t* diff, bool first_time) {
    for (size_t pixel = 0; pixel < kSpan; ++pixel) {
      for (size_t half = 0; half < 2; ++half) {
        add_to(diff + pixel * kBlock + ByteVec::kBytes / 2 * half, u16[pixel][half], first_time);
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
  ShortSums sums[kSums];
  for (ShortSums& sum : sums) sum.clear();
  ByteVec low[kSums], high[kSums];
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { low[i] = high[i] = ByteVec::zero(); });
  const auto widen = [&]() ONEBIT_INLINE_LAMBDA {
    unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
      sums[i].widen(low[i], high[i]);
      low[i] = high[i] = ByteVec::zero();
    });
  };
  const auto flush = [&](bool first_time) {
    for (size_t i = 0; i < kSums; ++i) {
      sums[i].flush(t.diff + i / vectors * kSpan * kBlock + i % vectors * ByteVec::kBytes, first_time);
    }
  };
  // Looks up the nibbles from `first` to `last` of a word and separates the halves.
  const auto add_nibbles = [&](auto first, auto last, ptrdiff_t at) ONEBIT_INLINE_LAMBDA {
    unroll<spans>([&](auto s) ONEBIT_INLINE_LAMBDA {
      ByteVec sum[vectors];
      unroll<last - first>([&](auto n) ONEBIT_INLINE_LAMBDA {
        uint16_t offset;
        __builtin_memcpy(&offset, span[s] + at + 2 * (first + n), sizeof offset);
        const ByteVec rows = ByteVec::broadcast16(table + offset);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          const ByteVec counts =
              ByteVec::shuffle(rows, ByteVec::load_aligned(weights + (first + n) * kBlock + ByteVec::kBytes * v));
          if (n == 0) {
            sum[v] = counts;
          } else {
            sum[v] = ByteVec::keep(ByteVec::add8(sum[v], counts));
          }
        });
      });
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        const size_t i = s * vectors + v;
        low[i] = ByteVec::keep(ByteVec::add8(low[i], ByteVec::bit_and(sum[v], ByteVec::bytes(0x0F))));
        high[i] = ByteVec::keep(ByteVec::add16(high[i], ByteVec::shift_right16<4>(sum[v])));
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
      flush(first_time);
      first_time = false;
      short_room = kWordsPerShort;
    }
  }
  widen();
  flush(first_time);
}

template <size_t spans>
void count_spans(const BinaryTile& t) {
  if constexpr (kVectors > 1) {
    if (t.channels <= ByteVec::kBytes) return count_tile<spans, 1>(t);
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
