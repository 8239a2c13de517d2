// The real-valued convolution itself, included once per instruction set by a file that first defines, in its own
// unnamed namespace: Vec (kLanes floats: zero, load, store, add, and fma(a, b, c) = a * b + c with a broadcast from
// memory), kPixels and kVectors, the size of the register tile. No include guard, on purpose.

namespace onebit {
namespace {

constexpr size_t kPanel = kVectors * Vec::kLanes;

// Few pixels leave few sums, and each waits for its previous addition; several partial sums per output hide that.
constexpr size_t partial_sums(size_t pixels) { return pixels == 1 ? 4 : pixels <= 3 ? 2 : 1; }

template <size_t pixels>
void multiply_panel(const FloatTile& t, const float* weights, float* y) {
  constexpr size_t kParts = partial_sums(pixels);
  const uint8_t* pixel[pixels];
  for (size_t p = 0; p < pixels; ++p) pixel[p] = t.pixels[p];
  Vec sum[kParts][pixels][kVectors];
  for (auto& part : sum) {
    for (auto& row : part) {
      for (Vec& x : row) x = Vec::zero();
    }
  }
  const auto step = [&](auto& part, ptrdiff_t at, size_t k) {
    Vec weight[kVectors];
    for (size_t v = 0; v < kVectors; ++v) weight[v] = Vec::load(weights + k * kPanel + v * Vec::kLanes);
    for (size_t p = 0; p < pixels; ++p) {
      const float* x = reinterpret_cast<const float*>(pixel[p] + at) + k;
      for (size_t v = 0; v < kVectors; ++v) part[p][v] = Vec::fma(x, weight[v], part[p][v]);
    }
  };
  for (size_t r = 0; r < t.run_count; ++r) {
    size_t k = 0;
    for (; k + kParts <= t.run_floats; k += kParts) {
#pragma GCC unroll 4
      for (size_t part = 0; part < kParts; ++part) step(sum[part], t.runs[r], k + part);
    }
    for (; k < t.run_floats; ++k) step(sum[0], t.runs[r], k);
    weights += t.run_floats * kPanel;
  }
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t v = 0; v < kVectors; ++v) {
      Vec total = sum[0][p][v];
      for (size_t part = 1; part < kParts; ++part) total = Vec::add(total, sum[part][p][v]);
      total.store(y + p * kBlock + v * Vec::kLanes);
    }
  }
}

template <size_t pixels>
void multiply_pixels(const FloatTile& t) {
  const size_t panel_floats = t.run_count * t.run_floats * kPanel;
  for (size_t c = 0; c < t.channels; c += kPanel) {
    multiply_panel<pixels>(t, t.weights + c / kPanel * panel_floats, t.y + c);
  }
}

template <size_t pixels>
void multiply_at_most(const FloatTile& t) {
  if (t.pixel_count == pixels) return multiply_pixels<pixels>(t);
  if constexpr (pixels > 1) multiply_at_most<pixels - 1>(t);
}

void multiply(const FloatTile& t) { multiply_at_most<kPixels>(t); }

}  // namespace
}  // namespace onebit
