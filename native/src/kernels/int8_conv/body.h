// The int8 convolution itself, included once per instruction set by a file that first defines, in its own unnamed
// namespace: kPixels and kVectors, the size of the register tile, and
//   Sum      kLanes sums, one a channel, each of one int32 or of several parts: start(const int32_t*), which loads the
//            first part, add(Word, Weights), which adds the products of a word, and store(scale, y)
//   Word     one word of a pixel, broadcast: load(const uint8_t*)
//   Weights  those of kLanes channels for one word, kBytes of them: load(const uint8_t*)
// No include guard, on purpose.

namespace onebit {
namespace {

constexpr size_t kPanel = kVectors * Sum::kLanes;
constexpr size_t kPanelBytes = kVectors * Weights::kBytes;  // of one word

template <size_t pixels, size_t vectors>
void multiply_panel(const Int8Tile& t, const uint8_t* weights, size_t channel) {
  const uint8_t* pixel[pixels];
  Sum sum[pixels * vectors];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
    pixel[p] = t.pixels[p];
    unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
      sum[p * vectors + v] = Sum::start(t.start[p] + channel + v * Sum::kLanes);
    });
  });
  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    for (size_t w = 0; w < t.run_words; ++w, at += Word::kBytes, weights += kPanelBytes) {
      Weights weight[vectors];
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA { weight[v] = Weights::load(weights + v * Weights::kBytes); });
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
        const Word word = Word::load(pixel[p] + at);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA { sum[p * vectors + v].add(word, weight[v]); });
      });
    }
  }
  unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
    const size_t first = i % vectors * Sum::kLanes;
    sum[i].store(t.scale + channel + first, t.y + i / vectors * kBlock + channel + first);
  });
}

// The last panel of a block may need fewer vectors than the others.
template <size_t pixels, size_t vectors>
void multiply_vectors(const Int8Tile& t, const uint8_t* weights, size_t channel) {
  if (t.channels - channel > (vectors - 1) * Sum::kLanes) return multiply_panel<pixels, vectors>(t, weights, channel);
  if constexpr (vectors > 1) multiply_vectors<pixels, vectors - 1>(t, weights, channel);
}

template <size_t pixels>
void multiply_pixels(const Int8Tile& t) {
  const size_t panel_bytes = t.run_count * t.run_words * kPanelBytes;
  for (size_t c = 0; c < t.channels; c += kPanel) {
    multiply_vectors<pixels, kVectors>(t, t.weights + c / kPanel * panel_bytes, c);
  }
}

template <size_t pixels>
void multiply_at_most(const Int8Tile& t) {
  if (t.pixel_count == pixels) return multiply_pixels<pixels>(t);
  if constexpr (pixels > 1) multiply_at_most<pixels - 1>(t);
}

void multiply(const Int8Tile& t) { multiply_at_most<kPixels>(t); }

}  // namespace
}  // namespace onebit
