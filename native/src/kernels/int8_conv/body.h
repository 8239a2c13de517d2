// The int8 convolution, included once per instruction set, after its kernels/vec header, the size of the register tile,
// kPixels x kVectors, and
//   Sum  accumulators of a vector of channels, of one int32 each or of several parts: start(const int32_t*) loads them,
//        add(pixel, weights) adds the products of a word, given as vectors of words, and total() sums up the parts
// No include guard: every including file compiles its own copy.

namespace onebit {
namespace {

constexpr size_t kPanel = kVectors * Vec::kLanes;
constexpr ptrdiff_t kWordBytes = 4;                  // of one pixel
constexpr size_t kPanelBytes = kPanel * kWordBytes;  // of the weights of one word

template <size_t pixels, size_t vectors>
void multiply_panel(const Int8Tile& t, const uint8_t* weights, size_t channel) {
  const uint8_t* pixel[pixels];
  Sum sum[pixels * vectors];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
    pixel[p] = t.pixels[p];
    unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
      sum[p * vectors + v] = Sum::start(t.start[p] + channel + v * Vec::kLanes);
    });
  });
  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    for (size_t w = 0; w < t.run_words; ++w, at += kWordBytes, weights += kPanelBytes) {
      IntVec weight[vectors];
      unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        weight[v] = IntVec::load_aligned(weights + v * Vec::kLanes * kWordBytes);
      });
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
        const IntVec word = IntVec::broadcast(pixel[p] + at);
        unroll<vectors>([&](auto v) ONEBIT_INLINE_LAMBDA { sum[p * vectors + v].add(word, weight[v]); });
      });
    }
  }
  unroll<pixels * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
    const size_t first = i % vectors * Vec::kLanes;
    const Vec scale = Vec::load(t.scale + channel + first);
    Vec::mul(scale, IntVec::to_floats(sum[i].total())).store(t.y + i / vectors * kBlock + channel + first);
  });
}

// The last panel of a block may need fewer vectors than the others.
template <size_t pixels, size_t vectors>
void multiply_vectors(const Int8Tile& t, const uint8_t* weights, size_t channel) {
  if (t.channels - channel > (vectors - 1) * Vec::kLanes) return multiply_panel<pixels, vectors>(t, weights, channel);
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
