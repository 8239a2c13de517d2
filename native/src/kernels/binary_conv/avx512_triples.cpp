// Binary convolution for AVX-512 with VPOPCNTDQ that counts three words at a time.
//
// For three words d1, d2, d3 of differing bits, with the sum s = d1 ^ d2 ^ d3 and the bitwise majority m:
//   popcount(d1) + popcount(d2) + popcount(d3) = popcount(s) + 2 popcount(m),
// two popcounts instead of three. XOR is linear: with the sums of activations and of weights computed beforehand, d1,
// d1 ^ d2 and s take one XOR each. m takes one ternary logic instruction: it is d1 where d1 ^ d2 is 0, else not s.
// This is 8 instructions for 3 x 512 products, where word by word it is 9. Left-over words of a run are counted one by
// one.
//
// A prepared activation word is followed by its XOR with the next word and with the next two. At the end of a row these
// include words past it, which no run uses.
#include "kernels/binary_conv/binary_conv.h"
#include "kernels/vec/avx512.h"

namespace onebit {
namespace {

constexpr size_t kTriple = 3;
constexpr size_t kWordBytes = 4 * kTriple;
constexpr size_t kPixels = 4;  // 4 pixels x 2 vectors of channels x (s, m): 16 of 32 registers are accumulators
constexpr size_t kTilePixels =
    kMaxPixels;  // that reuse half of the weights before the other half, which stays in cache
constexpr size_t kLanes = Vec::kLanes;
constexpr size_t kVectors = 2;
constexpr size_t kHalf = kVectors * kLanes;  // channels that are computed together

void prepare(const uint32_t* row, size_t pixels, size_t words, size_t, uint8_t* prepared) {
  auto* out = reinterpret_cast<uint32_t*>(prepared);
  for (size_t i = 0; i < pixels * words; ++i) {
    const uint32_t two = row[i] ^ row[i + 1];
    out[kTriple * i] = row[i];
    out[kTriple * i + 1] = two;
    out[kTriple * i + 2] = two ^ row[i + 2];
  }
}

// [half of the channels][word][channel].
void pack_weights(const uint32_t* const* rows, size_t channels, size_t runs, size_t run_words, uint8_t* packed) {
  auto* out = reinterpret_cast<uint32_t*>(packed);
  for (size_t half = 0; half < kBlock; half += kHalf) {
    for (size_t word = 0; word < runs * run_words; ++word) {
      const size_t in_run = word % run_words;
      const size_t before = in_run < run_words / kTriple * kTriple ? in_run % kTriple : 0;  // words of its triple
      for (size_t c = half; c < half + kHalf; ++c, ++out) {
        for (size_t w = word - before; w <= word && c < channels; ++w) *out ^= rows[c][w];
      }
    }
  }
}

template <size_t pixels, size_t vectors>
void count_half(const BinaryTile& t, size_t first, const uint8_t* weights, int32_t* diff) {
  constexpr int kMajority = 0x74;  // of (d1, d1 ^ d2, s)
  constexpr size_t kSums = pixels * vectors;
  const size_t half_bytes = 4 * t.run_count * t.run_words * kHalf;
  const uint8_t* pixel[pixels];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA { pixel[p] = t.spans[first + p]; });
  IntVec ones[kSums], twos[kSums];
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { ones[i] = twos[i] = {_mm512_setzero_si512()}; });
  const auto add_count = [&](IntVec& sum, __m512i bits) ONEBIT_INLINE_LAMBDA {
    sum = IntVec::add(sum, {_mm512_popcnt_epi32(bits)});
    ONEBIT_KEEP_IN_REGISTER(sum.x);
  };

  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    const ptrdiff_t end = at + static_cast<ptrdiff_t>(kWordBytes * t.run_words);
    const ptrdiff_t last_triple = end - static_cast<ptrdiff_t>(kWordBytes * kTriple);
    for (; at <= last_triple; at += kWordBytes * kTriple) {
      IntVec weight[kTriple * vectors];
      unroll<kTriple * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
        weight[i] = IntVec::load_aligned(weights + 4 * (i / vectors * kHalf + i % vectors * kLanes));
        // As an address: after the last half there is nothing to point to.
        __builtin_prefetch(reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(weights) + half_bytes + 64 * i), 0, 2);
      });
      weights += 4 * kTriple * kHalf;
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
        const uint8_t* from = pixel[p] + at;
        const IntVec one = IntVec::broadcast(from), two = IntVec::broadcast(from + 4);
        const IntVec three = IntVec::broadcast(from + 8);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
          const __m512i first = _mm512_xor_si512(one.x, weight[v].x);
          const __m512i pair = _mm512_xor_si512(two.x, weight[vectors + v].x);
          const __m512i sum = _mm512_xor_si512(three.x, weight[2 * vectors + v].x);
          add_count(ones[p * vectors + v], sum);
          add_count(twos[p * vectors + v], _mm512_ternarylogic_epi32(first, pair, sum, kMajority));
        });
      });
    }
    for (; at < end; at += kWordBytes) {
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        const IntVec weight = IntVec::load_aligned(weights + 4 * kLanes * v);
        unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
          add_count(ones[p * vectors + v], _mm512_xor_si512(IntVec::broadcast(pixel[p] + at).x, weight.x));
        });
      });
      weights += 4 * kHalf;
    }
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    const IntVec sum = IntVec::add(ones[i], IntVec::add(twos[i], twos[i]));
    sum.store(diff + i / vectors * kBlock + i % vectors * kLanes);
  });
}

template <size_t vectors>
void count_vectors(const BinaryTile& t, const uint8_t* weights, int32_t* diff) {
  constexpr void (*by_pixels[])(const BinaryTile&, size_t, const uint8_t*, int32_t*) = {
      count_half<1, vectors>, count_half<2, vectors>, count_half<3, vectors>, count_half<4, vectors>};
  for (size_t first = 0; first < t.span_count; first += kPixels) {
    const size_t left = t.span_count - first;
    by_pixels[(left < kPixels ? left : kPixels) - 1](t, first, weights, diff + first * kBlock);
  }
}

void count(const BinaryTile& t) {
  const size_t half_bytes = 4 * t.run_count * t.run_words * kHalf;
  for (size_t half = 0; half < t.channels; half += kHalf) {
    const uint8_t* weights = t.weights + half / kHalf * half_bytes;
    (t.channels - half > kLanes ? count_vectors<2> : count_vectors<1>)(t, weights, t.diff + half);
  }
}

}  // namespace

const BinaryConvKernel binary_conv_avx512_triples = {
    .isa = Isa::avx512,
    .name = "binary_conv_avx512_triples",
    .pixels = kTilePixels,
    .span = 1,
    .word_bytes = kWordBytes,
    .weight_bytes = 4,
    .best_from = kTriple,
    .prepare = prepare,
    .pack_weights = pack_weights,
    .count = count,
};

}  // namespace onebit
